;; The least number divided by -1.
(module
  (func $least (result i32) (i32.const 0x80000000))
  (func (export "run") (result i32)
    (i32.div_s (call $least) (i32.const -1))))

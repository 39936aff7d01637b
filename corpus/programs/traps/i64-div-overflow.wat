;; The least number divided by -1.
(module
  (func $least (result i64) (i64.const 0x8000000000000000))
  (func (export "run") (result i64)
    (i64.div_s (call $least) (i64.const -1))))

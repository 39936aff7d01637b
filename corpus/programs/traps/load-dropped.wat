;; A load whose value nobody wants must trap all the same.
(module
  (memory 1 2)
  (func (export "run") (result i32)
    (drop (i64.load (i32.const 70000)))
    (i32.const 1)))

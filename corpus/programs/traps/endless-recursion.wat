;; Recursion without end.
(module
  (func $down (param i64) (result i64)
    (i64.add (call $down (i64.add (local.get 0) (i64.const 1))) (local.get 0)))
  (func (export "run") (result i64)
    (call $down (i64.const 1))))

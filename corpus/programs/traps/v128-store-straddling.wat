;; Eight of the sixteen bytes exist: none of them is written.
(module
  (memory 1)
  (func (export "run") (result i64)
    (v128.store (i32.const 65520) (v128.const i64x2 -1 -1))
    (v128.store (i32.const 65528) (v128.const i64x2 5 6))
    (i64.load (i32.const 65528))))

;; A 64-bit address far beyond any reservation.
(module
  (memory i64 1)
  (func (export "run") (result i64)
    (i32.store (i64.const 0x100000000) (i32.const 1))
    (i64.const 0)))

;; The first memory has the address, the second has not.
(module
  (memory 2)
  (memory $b 1)
  (func (export "run") (result i64)
    (drop (i64.load (i32.const 65536)))
    (i64.load $b (i32.const 65536))))

;; A load of which only the last byte is beyond the memory.
(module
  (memory 1 2)
  (func (export "run") (result i64)
    (i64.load (i32.const 65529))))

;; A load of one byte just beyond the memory.
(module
  (memory 1 2)
  (func (export "run") (result i32)
    (i32.load8_u (i32.const 65536))))

;; memory.fill of which the last byte does not fit: nothing may be filled.
(module
  (memory (export "memory") 1 2)
  (data $bytes "0123456789")
  (func (export "run")
    (memory.fill (i32.const 65000) (i32.const 0xee) (i32.const 537))))

;; memory.copy of which the last byte does not fit: nothing may be copied.
(module
  (memory (export "memory") 1 2)
  (data $bytes "0123456789")
  (func (export "run")
    (memory.copy (i32.const 65530) (i32.const 0) (i32.const 7))))

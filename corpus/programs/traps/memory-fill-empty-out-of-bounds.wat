;; memory.fill of nothing, but beyond the end.
(module
  (memory (export "memory") 1 2)
  (data $bytes "0123456789")
  (func (export "run")
    (memory.fill (i32.const 65537) (i32.const 0xee) (i32.const 0))))

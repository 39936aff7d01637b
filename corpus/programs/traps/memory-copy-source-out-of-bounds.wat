;; memory.copy from an address that would wrap.
(module
  (memory (export "memory") 1 2)
  (data $bytes "0123456789")
  (func (export "run")
    (memory.copy (i32.const 0) (i32.const -1) (i32.const 2))))

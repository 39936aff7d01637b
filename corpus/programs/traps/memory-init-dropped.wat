;; memory.init from a segment that was dropped.
(module
  (memory (export "memory") 1 2)
  (data $bytes "0123456789")
  (func (export "run")
    (data.drop $bytes)
    (memory.init $bytes (i32.const 0) (i32.const 0) (i32.const 1))))

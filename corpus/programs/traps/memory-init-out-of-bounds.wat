;; memory.init beyond the end of the segment.
(module
  (memory (export "memory") 1 2)
  (data $bytes "0123456789")
  (func (export "run")
    (memory.init $bytes (i32.const 0) (i32.const 5) (i32.const 6))))

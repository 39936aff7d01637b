;; A store just beyond the memory.
(module
  (memory 1 2)
  (func (export "run")
    (i32.store (i32.const 65536) (i32.const 7))))

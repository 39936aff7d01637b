;; A store across the end: nothing of it may be written, what was stored before stays.
(module
  (memory (export "memory") 1 2)
  (func (export "run")
    (i32.store (i32.const 65528) (i32.const 0x55555555))
    (i64.store (i32.const 65532) (i64.const -1))))

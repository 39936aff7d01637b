;; The bound moves with the size: the first store after growing is good, the second is not.
(module
  (memory (export "memory") 1 2)
  (func (export "run")
    (drop (memory.grow (i32.const 1)))
    (i32.store (i32.const 131068) (i32.const 1))
    (i32.store (i32.const 131069) (i32.const 2))))

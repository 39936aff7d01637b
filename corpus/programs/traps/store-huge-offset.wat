;; A store with an offset that would wrap to address 8.
(module
  (memory 1 2)
  (func (export "run")
    (i64.store offset=0xfffffff8 (i32.const 16) (i64.const 1))))

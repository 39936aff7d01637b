(module
  (memory 1 1 shared)
  ;; Stores 77 where 0 is: whatever the upper half of the argument holds.
  (func (export "run") (param i64) (result i32)
    (drop (i32.atomic.rmw.cmpxchg (i32.const 0) (i32.wrap_i64 (local.get 0)) (i32.const 77)))
    (i32.load (i32.const 0))))

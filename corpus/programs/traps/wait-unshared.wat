;; Nobody could ever notify.
(module
  (memory 1)
  (func (export "run") (result i64)
    (drop (memory.atomic.notify (i32.const 0) (i32.const 1)))
    (i64.extend_i32_u (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const 0)))))

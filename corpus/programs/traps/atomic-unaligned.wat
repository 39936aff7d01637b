;; Alignment counts with the offset, and before the bounds.
(module
  (memory 1 1 shared)
  (func (export "run") (result i64)
    (drop (i64.atomic.load offset=7 (i32.const 1)))
    (i64.atomic.rmw.add offset=4 (i32.const 0x1000000) (i64.const 1))))

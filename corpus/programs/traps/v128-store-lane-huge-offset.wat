;; The offset reaches beyond the guard: checked in code, also for lanes.
(module
  (memory 1)
  (func (export "run") (result i64)
    (v128.store32_lane offset=0xfffffff0 1 (i32.const 8) (v128.const i64x2 1 2))
    (i64.const 0)))

;; One lane of a vector, one byte beyond the memory.
(module
  (memory 1)
  (func (export "run") (result i64)
    (i64x2.extract_lane 0
      (v128.load16_lane offset=1 3
        (i32.const 65534)
        (v128.load8_lane 3 (i32.const 65535) (v128.const i64x2 1 2))))))

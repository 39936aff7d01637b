;; Fifteen of the sixteen bytes exist.
(module
  (memory 1)
  (func (export "run") (result i64)
    (drop (v128.load (i32.const 65520)))
    (i64x2.extract_lane 1 (v128.load (i32.const 65521)))))

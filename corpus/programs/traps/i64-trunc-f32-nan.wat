;; i64.trunc_f32_s of a NaN.
(module
  (func (export "run") (result i64)
    (i64.trunc_f32_s (f32.const nan))))

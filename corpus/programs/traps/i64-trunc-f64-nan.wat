;; i64.trunc_f64_s of a NaN.
(module
  (func (export "run") (result i64)
    (i64.trunc_f64_s (f64.const nan))))

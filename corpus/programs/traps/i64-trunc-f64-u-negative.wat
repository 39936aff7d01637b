;; i64.trunc_f64_u of -1.
(module
  (func (export "run") (result i64)
    (i64.trunc_f64_u (f64.const -1))))

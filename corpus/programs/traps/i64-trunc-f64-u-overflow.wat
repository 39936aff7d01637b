;; i64.trunc_f64_u of the first number that is too large.
(module
  (func (export "run") (result i64)
    (i64.trunc_f64_u (f64.const 18446744073709551616))))

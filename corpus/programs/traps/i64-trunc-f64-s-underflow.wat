;; i64.trunc_f64_s of the first number that is too small.
(module
  (func (export "run") (result i64)
    (i64.trunc_f64_s (f64.const -9223372036854777856))))

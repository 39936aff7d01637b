;; i32.trunc_f64_s of the first number that is too large.
(module
  (func (export "run") (result i32)
    (i32.trunc_f64_s (f64.const 2147483648))))

;; i64.trunc_f32_u of the first number that is too large.
(module
  (func (export "run") (result i64)
    (i64.trunc_f32_u (f32.const 18446744073709551616))))

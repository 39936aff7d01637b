;; i64.trunc_f32_s of the first number that is too large.
(module
  (func (export "run") (result i64)
    (i64.trunc_f32_s (f32.const 9223372036854775808))))

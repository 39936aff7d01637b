;; i32.trunc_f32_s of the first number that is too large.
(module
  (func (export "run") (result i32)
    (i32.trunc_f32_s (f32.const 2147483648))))

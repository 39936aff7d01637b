;; i32.trunc_f32_u of the first number that is too large.
(module
  (func (export "run") (result i32)
    (i32.trunc_f32_u (f32.const 4294967296))))

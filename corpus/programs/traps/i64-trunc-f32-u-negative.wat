;; i64.trunc_f32_u of -1.
(module
  (func (export "run") (result i64)
    (i64.trunc_f32_u (f32.const -1))))

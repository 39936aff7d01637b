;; i32.trunc_f32_u of -1.
(module
  (func (export "run") (result i32)
    (i32.trunc_f32_u (f32.const -1))))

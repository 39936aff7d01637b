;; i32.trunc_f64_u of -1.
(module
  (func (export "run") (result i32)
    (i32.trunc_f64_u (f64.const -1))))

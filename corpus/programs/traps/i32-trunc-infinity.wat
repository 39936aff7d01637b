;; An infinity is too large, not invalid.
(module
  (func (export "run") (result i32)
    (i32.trunc_f64_u (f64.const inf))))

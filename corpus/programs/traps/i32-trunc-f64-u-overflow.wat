;; i32.trunc_f64_u of the first number that is too large.
(module
  (func (export "run") (result i32)
    (i32.trunc_f64_u (f64.const 4294967296))))

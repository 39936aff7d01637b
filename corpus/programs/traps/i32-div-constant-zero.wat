;; A division by zero that is plain when compiling.
(module
  (func (export "run") (result i32)
    (i32.div_u (i32.const 7) (i32.const 0))))

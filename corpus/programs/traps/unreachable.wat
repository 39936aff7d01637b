;; `unreachable` with values on the stack.
(module
  (func (export "run") (result i32)
    (i32.const 1)
    (i64.const 2)
    unreachable))

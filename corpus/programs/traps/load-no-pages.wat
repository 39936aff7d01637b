;; A memory without pages has no first byte.
(module
  (memory 0 1)
  (func (export "run") (result i32)
    (i32.load8_u (i32.const 0))))

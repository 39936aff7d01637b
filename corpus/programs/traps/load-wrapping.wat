;; Address and offset sum to 2^32 exactly: it must not wrap to 0.
(module
  (memory 1 2)
  (func (export "run") (result i32)
    (i32.load offset=8 (i32.const -8))))

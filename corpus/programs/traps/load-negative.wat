;; A negative address is a large one.
(module
  (memory 1 2)
  (func (export "run") (result i32)
    (i32.load (i32.const -4))))

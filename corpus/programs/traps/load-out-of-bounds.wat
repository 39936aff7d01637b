;; A load just beyond the memory, which has a page and could have two.
(module
  (memory 1 2)
  (func (export "run") (result i32)
    (i32.load (i32.const 65536))))

;; An active data segment that does not fit; the one before it is written nevertheless.
(module
  (memory 1)
  (data (i32.const 0) "written")
  (data (i32.const 65533) "not written")
  (func (export "run") (result i32) (i32.load (i32.const 0))))

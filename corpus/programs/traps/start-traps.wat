;; The start function traps: the instance never comes to be.
(module
  (memory 1)
  (start $start)
  (func $start (i32.store (i32.const 0) (i32.const 1)) unreachable)
  (func (export "run") (result i32) (i32.load (i32.const 0))))

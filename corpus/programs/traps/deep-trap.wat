;; A trap twenty frames deep, after changes to memory and a global that must stay.
(module
  (memory (export "memory") 1)
  (global $depth (export "depth") (mut i32) (i32.const 0))
  (func $down (param $n i32) (result i32)
    (global.set $depth (i32.add (global.get $depth) (i32.const 1)))
    (i32.store offset=4 (i32.shl (local.get $n) (i32.const 2)) (local.get $n))
    (i32.add
      (i32.div_u (i32.const 100) (local.get $n))
      (call $down (i32.sub (local.get $n) (i32.const 1)))))
  (func (export "run") (result i32)
    (i32.store (i32.const 0) (i32.const 1))
    (call $down (i32.const 20))))

;; memory.grow: bytes written before it stay, new pages are zero, the page that
;; was out of bounds becomes usable, growth beyond the maximum fails without
;; effect, growth by nothing reports the size.
(module
  (memory (export "memory") 1 5)
  (global $sum (mut i64) (i64.const 0))
  (func $note (param $value i64)
    (global.set $sum
      (i64.add (i64.mul (global.get $sum) (i64.const 0x100000001b3)) (local.get $value))))
  (func $grow (param $pages i32)
    (call $note (i64.extend_i32_s (memory.grow (local.get $pages))))
    (call $note (i64.extend_i32_s (memory.size))))
  (func (export "run") (result i64)
    (local $page i32)
    (i64.store (i32.const 65528) (i64.const 0x1122334455667788))
    (call $grow (i32.const 0))
    (call $grow (i32.const 1))
    (call $note (i64.load (i32.const 65528)))
    (call $note (i64.load (i32.const 65536)))
    ;; Across the seam between the old page and the new.
    (i64.store (i32.const 65532) (i64.const -2))
    (call $note (i64.load (i32.const 65528)))
    (call $note (i64.load offset=65535 align=1 (i32.const 1)))
    (call $grow (i32.const 9))
    (call $grow (i32.const -1))
    (call $grow (i32.const 3))
    (call $grow (i32.const 1))
    ;; Every page can be used, to its last byte.
    (loop $pages
      (i32.store offset=65532
        (i32.shl (local.get $page) (i32.const 16))
        (i32.mul (i32.add (local.get $page) (i32.const 1)) (i32.const 0x01010101)))
      (br_if $pages
        (i32.lt_u
          (local.tee $page (i32.add (local.get $page) (i32.const 1)))
          (memory.size))))
    (loop $pages
      (local.set $page (i32.sub (local.get $page) (i32.const 1)))
      (call $note
        (i64.load offset=65528 (i32.shl (local.get $page) (i32.const 16))))
      (br_if $pages (local.get $page)))
    (global.get $sum)))

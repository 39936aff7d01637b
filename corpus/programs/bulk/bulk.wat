;; memory.copy, memory.fill, memory.init and data.drop: overlapping both ways,
;; nothing at the very end, ends of the memory, parts of a segment.
(module
  (memory 1 1)
  (data $text "the quick brown fox jumps over the lazy dog")
  (data $short "\01\02\03")
  (data (i32.const 32) "active segment")
  (global $sum (mut i64) (i64.const 0))
  ;; Mixes `len` bytes from `at` into the sum.
  (func $note (param $at i32) (param $len i32)
    (local $hash i64)
    (local.set $hash (i64.const 0xcbf29ce484222325))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $len)))
        (local.set $hash
          (i64.mul
            (i64.xor (local.get $hash) (i64.load8_u (local.get $at)))
            (i64.const 0x100000001b3)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (local.set $len (i32.sub (local.get $len) (i32.const 1)))
        (br $next)))
    (global.set $sum
      (i64.add (i64.mul (global.get $sum) (i64.const 31)) (local.get $hash))))
  (func (export "run") (result i64)
    (memory.init $text (i32.const 100) (i32.const 0) (i32.const 43))
    (call $note (i32.const 96) (i32.const 60))
    (memory.init $text (i32.const 110) (i32.const 4) (i32.const 5))
    (memory.init $text (i32.const 65536) (i32.const 43) (i32.const 0))
    (data.drop $text)
    (memory.init $text (i32.const 0) (i32.const 0) (i32.const 0))
    (call $note (i32.const 96) (i32.const 60))
    ;; Forward and backward over itself.
    (memory.copy (i32.const 105) (i32.const 100) (i32.const 40))
    (call $note (i32.const 96) (i32.const 60))
    (memory.copy (i32.const 98) (i32.const 103) (i32.const 40))
    (call $note (i32.const 96) (i32.const 60))
    (memory.copy (i32.const 200) (i32.const 32) (i32.const 14))
    (memory.copy (i32.const 65522) (i32.const 32) (i32.const 14))
    (memory.copy (i32.const 65536) (i32.const 0) (i32.const 0))
    (call $note (i32.const 200) (i32.const 16))
    (call $note (i32.const 65500) (i32.const 36))
    (memory.fill (i32.const 300) (i32.const 0x1ab) (i32.const 37))
    (memory.fill (i32.const 310) (i32.const 0) (i32.const 1))
    (memory.fill (i32.const 65535) (i32.const -1) (i32.const 1))
    (memory.fill (i32.const 65536) (i32.const 7) (i32.const 0))
    (call $note (i32.const 296) (i32.const 48))
    (call $note (i32.const 65520) (i32.const 16))
    (memory.init $short (i32.const 305) (i32.const 1) (i32.const 2))
    (data.drop $short)
    (call $note (i32.const 296) (i32.const 48))
    ;; Large enough that no one unrolls it.
    (memory.fill (i32.const 4096) (i32.const 0x5a) (i32.const 20000))
    (memory.copy (i32.const 10001) (i32.const 4096) (i32.const 30000))
    (call $note (i32.const 30000) (i32.const 200))
    (global.get $sum)))

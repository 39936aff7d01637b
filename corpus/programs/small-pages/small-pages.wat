;; A memory with pages of one byte: it ends in the middle of the processor's
;; pages, so every access is checked in code; growing byte by byte.
(module
  (memory 13 6000 (pagesize 1))
  (data (i32.const 5) "sixteen!")
  (func (export "run") (result i64)
    (local $h i64) (local $i i32)
    (local.set $h (i64.load (i32.const 5)))
    (loop $again
      (local.set $i (memory.size))
      (local.set $h
        (i64.add
          (i64.rotl (local.get $h) (i64.const 5))
          (i64.extend_i32_s (memory.grow (i32.add (local.get $i) (i32.const 3))))))
      (i64.store align=1 (i32.sub (memory.size) (i32.const 8)) (local.get $h))
      (i32.store8 (i32.sub (memory.size) (i32.const 1)) (i32.const 0x5a))
      (local.set $h
        (i64.xor (local.get $h) (i64.load offset=2 align=1 (i32.sub (memory.size) (i32.const 10)))))
      (br_if $again (i32.lt_u (memory.size) (i32.const 3000))))
    (memory.fill (i32.const 4080) (i32.const 9) (i32.const 12))
    (i64.add
      (i64.add (local.get $h) (i64.load align=1 (i32.const 4085)))
      (i64.extend_i32_u (memory.size)))))

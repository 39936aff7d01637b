;; A memory and a table with 64-bit addresses: checks of their own at every
;; access, sizes and growth in i64, bulk operations with mixed widths.
(module
  (memory $m i64 1 100)
  (memory $n 1)
  (table $t i64 4 20 funcref)
  (table $u 4 funcref)
  (type $f (func (param i64) (result i64)))
  (elem (table $t) (i64.const 1) func $twice $next)
  (elem $more func $next $twice $next)
  (data (i64.const 65530) "abcdef")
  (data $tail "0123456789")
  (func $twice (type $f) (i64.add (local.get 0) (local.get 0)))
  (func $next (type $f) (i64.add (local.get 0) (i64.const 1)))
  (func (export "run") (result i64)
    (local $h i64) (local $i i64)
    (local.set $h (i64.load $m offset=2 align=1 (i64.const 65526)))
    (local.set $h (i64.add (local.get $h) (memory.grow $m (i64.const 2))))
    (local.set $h (i64.add (local.get $h) (i64.shl (memory.grow $m (i64.const 0x1000000000000)) (i64.const 8))))
    (local.set $h (i64.xor (local.get $h) (i64.rotl (memory.size $m) (i64.const 50))))
    (memory.init $m $tail (i64.const 130000) (i32.const 1) (i32.const 9))
    (memory.copy $n $m (i32.const 7) (i64.const 129998) (i32.const 20))
    (memory.copy $m $n (i64.const 196600) (i32.const 5) (i32.const 8))
    (memory.fill $m (i64.const 100) (i32.const 0xc3) (i64.const 50))
    (loop $again
      (i64.store $m (i64.mul (local.get $i) (i64.const 6001)) (local.get $h))
      (v128.store64_lane $m offset=0x1000 1
        (local.get $i) (i64x2.splat (i64.mul (local.get $h) (local.get $i))))
      (local.set $h
        (i64.xor
          (i64.rotl (local.get $h) (i64.const 11))
          (i64.load32_u $m offset=17 (i64.mul (local.get $i) (i64.const 3000)))))
      (local.set $h
        (call_indirect $t (type $f)
          (local.get $h)
          (i64.add (i64.const 1) (i64.and (local.get $i) (i64.const 1)))))
      (local.set $i (i64.add (local.get $i) (i64.const 1)))
      (br_if $again (i64.lt_u (local.get $i) (i64.const 20))))
    (local.set $h (i64.add (local.get $h) (table.grow $t (ref.func $next) (i64.const 3))))
    (local.set $h (i64.add (local.get $h) (table.grow $t (ref.null func) (i64.const 14))))
    (table.init $t $more (i64.const 4) (i32.const 1) (i32.const 2))
    (table.copy $u $t (i32.const 1) (i64.const 4) (i32.const 3))
    (table.copy $t $t (i64.const 3) (i64.const 4) (i64.const 2))
    (table.fill $t (i64.const 0) (ref.func $twice) (i64.const 1))
    (i64.add
      (i64.add (table.size $t) (call_indirect $t (type $f) (local.get $h) (i64.const 0)))
      (i64.add
        (call_indirect $u (type $f) (i64.load8_u $n (i32.const 9)) (i32.const 1))
        (call_indirect $t (type $f) (i64.load $m (i64.const 196600)) (i64.const 4))))))

;; Small programs with the operations whose operands instruction selection
;; likes to fold, and enough live values to make the allocator spill.
(module
  (import "env" "log" (func $log (param i32 f64) (result i32)))
  (memory (export "memory") 1 4)
  (global $sum (mut i64) (i64.const 0))
  (table $t 8 16 funcref)
  (type $op (func (param i32 i32) (result i32)))
  (elem (table $t) (i32.const 1) func $add $masks)
  (data $d "some bytes")

  (func $add (type $op) (i32.add (local.get 0) (local.get 1)))

  (func $masks (type $op) (local i32 i32 i32)
    (local.set 2 (i32.and (local.get 0) (i32.xor (local.get 1) (i32.const -1))))
    (local.set 3 (i32.shl (local.get 0) (i32.and (local.get 1) (i32.const 31))))
    (local.set 4 (i32.and (local.get 2) (i32.sub (local.get 2) (i32.const 1))))
    (if (i32.and (local.get 3) (i32.shl (i32.const 1) (local.get 1)))
      (then (local.set 4 (i32.rotl (local.get 4) (i32.const 5)))))
    (select (local.get 4) (i32.add (local.get 2) (i32.shl (local.get 3) (i32.const 2)))
      (i32.eqz (i32.eqz (local.get 3)))))

  (func $sieve (export "sieve") (param $n i32) (result i32) (local $i i32) (local $j i32) (local $c i32)
    (local.set $i (i32.const 2))
    (block $done
      (loop $outer
        (br_if $done (i32.ge_u (local.get $i) (local.get $n)))
        (if (i32.eqz (i32.load8_u (local.get $i)))
          (then
            (local.set $c (i32.add (local.get $c) (i32.const 1)))
            (local.set $j (i32.mul (local.get $i) (local.get $i)))
            (loop $inner
              (if (i32.lt_u (local.get $j) (local.get $n))
                (then
                  (i32.store8 (local.get $j) (i32.const 1))
                  (local.set $j (i32.add (local.get $j) (local.get $i)))
                  (br $inner))))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $outer)))
    (local.get $c))

  (func $matrix (export "matrix") (param $n i32) (result f64)
    (local $i i32) (local $j i32) (local $k i32) (local $s f64) (local $total f64)
    (loop $li
      (local.set $j (i32.const 0))
      (loop $lj
        (local.set $k (i32.const 0))
        (local.set $s (f64.const 0))
        (loop $lk
          (local.set $s (f64.add (local.get $s)
            (f64.mul
              (f64.load (i32.shl (i32.add (i32.mul (local.get $i) (local.get $n)) (local.get $k)) (i32.const 3)))
              (f64.load offset=8192 (i32.shl (i32.add (i32.mul (local.get $k) (local.get $n)) (local.get $j)) (i32.const 3))))))
          (br_if $lk (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1))) (local.get $n))))
        (local.set $total (f64.add (local.get $total) (local.get $s)))
        (br_if $lj (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 1))) (local.get $n))))
      (br_if $li (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
    (local.get $total))

  (func $pressure (param i32 i32 i32 i32 i32 i32 i64 i64 f64 f64) (result i64) (local i64 i64 f64)
    (loop
      (local.set 10 (i64.add (local.get 6) (i64.extend_i32_u (i32.lt_s (local.get 0) (local.get 1)))))
      (local.set 11 (i64.xor (local.get 10) (i64.shl (local.get 7) (i64.const 3))))
      (local.set 12 (f64.sub (local.get 8) (f64.convert_i64_s (local.get 11))))
      (local.set 0 (i32.add (local.get 0) (i32.wrap_i64 (local.get 11))))
      (local.set 2 (call $log (local.get 3) (local.get 12)))
      (local.set 6 (i64.add (local.get 10) (i64.extend_i32_s (i32.add (local.get 2) (local.get 4)))))
      (global.set $sum (i64.add (global.get $sum) (local.get 6)))
      (br_if 0 (i32.or (f64.lt (local.get 12) (local.get 9)) (i32.gt_u (local.get 5) (local.get 0)))))
    (i64.add (local.get 11) (i64.reinterpret_f64 (local.get 12))))

  (func $traps (param i32 i32 f32 f64 i64) (result i32)
    (i32.store offset=70000000 (local.get 0) (i32.const 1))
    (drop (i64.load offset=4294967295 (local.get 0)))
    (drop (i64.div_s (local.get 4) (i64.extend_i32_s (local.get 1))))
    (drop (i32.trunc_f64_s (local.get 3)))
    (drop (i64.trunc_f32_u (local.get 2)))
    (drop (i32.rem_u (local.get 0) (local.get 1)))
    (drop (table.get $t (local.get 0)))
    (call_indirect $t (type $op) (local.get 0) (i32.div_s (local.get 0) (local.get 1)) (local.get 1)))

  (func $rounding (param f32 f64) (result f64)
    (f64.add (f64.ceil (local.get 1))
      (f64.add (f64.floor (f64.nearest (local.get 1)))
        (f64.promote_f32 (f32.trunc (f32.ceil (f32.floor (f32.nearest (local.get 0)))))))))

  (func $kernel (param i32 funcref externref) (result i32) (local funcref)
    (drop (memory.grow (local.get 0)))
    (memory.fill (local.get 0) (i32.const 1) (i32.const 2))
    (memory.copy (local.get 0) (i32.const 1) (i32.const 2))
    (memory.init $d (local.get 0) (i32.const 1) (i32.const 2))
    (data.drop $d)
    (drop (table.grow $t (local.get 1) (local.get 0)))
    (table.fill $t (local.get 0) (ref.func $add) (i32.const 1))
    (table.copy $t $t (local.get 0) (i32.const 1) (i32.const 2))
    (table.set $t (local.get 0) (local.get 3))
    (local.set 3 (table.get $t (i32.const 1)))
    (i32.add (ref.is_null (local.get 3))
      (i32.add (ref.is_null (local.get 2)) (i32.add (memory.size) (table.size $t)))))
)

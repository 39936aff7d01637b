;; Vectors everywhere a value can be: parameters beyond the eight that registers
;; pass, several results, locals, globals, block parameters and results, joins,
;; operands that wait for calls, `select`, indirect and recursive calls.
(module
  (type $many
    (func
      (param v128 i32 v128 v128 f64 v128 v128 v128 v128 i64 v128 v128 v128 v128)
      (result v128)))
  (type $pair (func (param v128 v128) (result v128 i32 v128)))
  (global $seed (mut v128) (v128.const i32x4 1 2 3 4))
  (global $step v128 (v128.const i64x2 0x9e3779b97f4a7c15 0xbf58476d1ce4e5b9))
  (global $last (mut v128) (v128.const i64x2 0 0))
  (table funcref (elem $many $swap))

  (func $next (result v128)
    (global.set $seed
      (i64x2.add (global.get $seed) (global.get $step)))
    (global.get $seed))

  ;; Twelve vectors among other things: the last ones are on the stack.
  (func $many (type $many)
    (local $sum v128)
    (local.set $sum (i32x4.splat (local.get 1)))
    (local.set $sum (i32x4.add (local.get $sum) (local.get 0)))
    (local.set $sum (i16x8.sub (local.get $sum) (local.get 2)))
    (local.set $sum (v128.xor (local.get $sum) (local.get 3)))
    (local.set $sum (i64x2.add (local.get $sum) (f64x2.splat (local.get 4))))
    (local.set $sum (i8x16.add (local.get $sum) (local.get 5)))
    (local.set $sum (i32x4.mul (local.get $sum) (local.get 6)))
    (local.set $sum (v128.xor (local.get $sum) (local.get 7)))
    (local.set $sum (i64x2.sub (local.get $sum) (local.get 8)))
    (local.set $sum (i64x2.add (local.get $sum) (i64x2.splat (local.get 9))))
    (local.set $sum (i16x8.add (local.get $sum) (local.get 10)))
    (local.set $sum (v128.andnot (local.get $sum) (local.get 11)))
    (local.set $sum (i32x4.add (local.get $sum) (local.get 12)))
    (v128.xor (local.get $sum) (local.get 13)))

  ;; Three results, two of them vectors.
  (func $swap (type $pair)
    (local.get 1)
    (i8x16.bitmask (i8x16.lt_s (local.get 0) (local.get 1)))
    (local.get 0))

  ;; A vector waits on the operand stack, and one in a local, for each call.
  (func $deep (param $n i32) (param $v v128) (result v128)
    (local $mine v128)
    (local.set $mine (i8x16.shl (local.get $v) (local.get $n)))
    (if (result v128) (i32.eqz (local.get $n))
      (then (local.get $v))
      (else
        (i32x4.add
          (v128.not (local.get $v))
          (i16x8.add
            (local.get $mine)
            (call $deep
              (i32.sub (local.get $n) (i32.const 1))
              (i64x2.add (local.get $v) (local.get $mine))))))))

  ;; Loops that carry vectors as parameters, and branches that move them.
  (func $carry (param $n i32) (result v128)
    (call $next)
    (v128.const i8x16 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    (loop $again (param v128 v128) (result v128)
      (block $out (param v128 v128) (result v128 v128)
        (br_if $out (i32.eqz (local.get $n)))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (call_indirect (type $pair) (i32.const 1))
        ;; The bitmask decides how the vectors come round.
        (drop)
        (block $kind
          (block $odd
            (br_table $odd $kind $kind (i32.and (local.get $n) (i32.const 3))))
          (global.set $last (i8x16.swizzle (global.get $seed) (global.get $last))))
        (drop)
        (call $next)
        (call $next)
        (br $again))
      (i8x16.sub)))

  (func $hash (param $v v128) (result i64)
    (i64.add
      (i64.mul (i64x2.extract_lane 0 (local.get $v)) (i64.const 0x100000001b3))
      (i64.rotl (i64x2.extract_lane 1 (local.get $v)) (i64.const 23))))

  (func (export "run") (result i64)
    (local $h i64) (local $i i32) (local $a v128) (local $b v128)
    (loop $round
      (local.set $a
        (call $many
          (call $next) (local.get $i) (call $next) (call $next) (f64.const 1.5)
          (call $next) (call $next) (call $next) (call $next) (local.get $h)
          (call $next) (call $next) (call $next) (call $next)))
      (local.set $b (call $deep (i32.const 5) (local.get $a)))
      (call_indirect (type $pair) (local.get $a) (local.get $b) (i32.const 1))
      (local.set $b)
      (drop)
      (local.set $a)
      (local.set $a
        (select (local.get $a) (local.get $b)
          (i64.lt_s (i64x2.extract_lane 1 (local.get $a)) (i64.const 0))))
      (local.set $h
        (i64.add
          (i64.rotl (local.get $h) (i64.const 7))
          (call $hash (v128.xor (local.get $a) (call $carry (local.get $i))))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $round (i32.lt_u (local.get $i) (i32.const 12))))
    (i64.xor (local.get $h) (call $hash (global.get $last)))))

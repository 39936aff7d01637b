;; 64-bit arithmetic: 128-bit products by parts, modular powers, xorshift, a
;; primality test, greatest common divisors, population counts.
(module
  ;; The high half of the 128-bit product.
  (func $mul_high (param $a i64) (param $b i64) (result i64)
    (local $a0 i64) (local $a1 i64) (local $b0 i64) (local $b1 i64)
    (local $mid i64) (local $low i64)
    (local.set $a0 (i64.and (local.get $a) (i64.const 0xffffffff)))
    (local.set $a1 (i64.shr_u (local.get $a) (i64.const 32)))
    (local.set $b0 (i64.and (local.get $b) (i64.const 0xffffffff)))
    (local.set $b1 (i64.shr_u (local.get $b) (i64.const 32)))
    (local.set $low (i64.shr_u (i64.mul (local.get $a0) (local.get $b0)) (i64.const 32)))
    (local.set $mid (i64.add (i64.mul (local.get $a1) (local.get $b0)) (local.get $low)))
    (local.set $low
      (i64.add
        (i64.mul (local.get $a0) (local.get $b1))
        (i64.and (local.get $mid) (i64.const 0xffffffff))))
    (i64.add
      (i64.add
        (i64.mul (local.get $a1) (local.get $b1))
        (i64.shr_u (local.get $mid) (i64.const 32)))
      (i64.shr_u (local.get $low) (i64.const 32))))

  ;; a * b mod m by doubling; m < 2^63.
  (func $mul_mod (param $a i64) (param $b i64) (param $m i64) (result i64)
    (local $r i64)
    (block $done
      (loop $bits
        (br_if $done (i64.eqz (local.get $b)))
        (if (i32.wrap_i64 (i64.and (local.get $b) (i64.const 1)))
          (then
            (local.set $r
              (i64.rem_u (i64.add (local.get $r) (local.get $a)) (local.get $m)))))
        (local.set $a (i64.rem_u (i64.shl (local.get $a) (i64.const 1)) (local.get $m)))
        (local.set $b (i64.shr_u (local.get $b) (i64.const 1)))
        (br $bits)))
    (local.get $r))

  (func $power_mod (param $base i64) (param $e i64) (param $m i64) (result i64)
    (local $r i64)
    (local.set $r (i64.const 1))
    (loop $bits
      (if (i64.ne (i64.and (local.get $e) (i64.const 1)) (i64.const 0))
        (then
          (local.set $r (call $mul_mod (local.get $r) (local.get $base) (local.get $m)))))
      (local.set $base (call $mul_mod (local.get $base) (local.get $base) (local.get $m)))
      (br_if $bits
        (i64.ne
          (local.tee $e (i64.shr_u (local.get $e) (i64.const 1)))
          (i64.const 0))))
    (local.get $r))

  (func $gcd (param $a i64) (param $b i64) (result i64)
    (local $t i64)
    (block $done
      (loop $l
        (br_if $done (i64.eqz (local.get $b)))
        (local.set $t (i64.rem_s (local.get $a) (local.get $b)))
        (local.set $a (local.get $b))
        (local.set $b (local.get $t))
        (br $l)))
    (local.get $a))

  (func (export "run") (param $n i32) (result i64 i64 i64)
    (local $x i64) (local $sum i64) (local $g i64) (local $p i64)
    (local.set $x (i64.const 0x2545f4914f6cdd1d))
    (loop $l
      ;; xorshift64
      (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
      (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
      (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 17))))
      (local.set $sum
        (i64.add (local.get $sum) (call $mul_high (local.get $x) (i64.rotr (local.get $x) (i64.const 23)))))
      (local.set $sum
        (i64.xor (local.get $sum)
          (i64.add (i64.popcnt (local.get $x))
            (i64.add (i64.shl (i64.clz (local.get $sum)) (i64.const 8))
              (i64.shl (i64.ctz (local.get $x)) (i64.const 16))))))
      (local.set $g
        (i64.add (local.get $g) (call $gcd (local.get $x) (i64.const -720720))))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    ;; 2^(p-1) mod p is 1 for the prime 2^61 - 1.
    (local.set $p
      (call $power_mod (i64.const 2) (i64.const 0x1ffffffffffffffe) (i64.const 0x1fffffffffffffff)))
    (local.get $sum)
    (local.get $g)
    (i64.add (local.get $p)
      (call $power_mod (i64.const 3) (i64.const 1000003) (i64.const 1000000007)))))

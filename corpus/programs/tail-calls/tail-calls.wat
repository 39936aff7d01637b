;; Tail calls: direct, indirect, through references, to a function with more and
;; with fewer arguments on the stack, in turns for long enough that frames would
;; pile up, from inside blocks, with values waiting below, in callers that have
;; something to lose, and with results that find no register.
(module
  (type $step (func (param i64 i64) (result i64)))
  (type $wide
    (func
      (param i64 i64 i64 i64 i64 i64 i64 i64 f64 f64 f64 f64 f64 f64 f64 f64 f64 v128 v128)
      (result i64)))
  (table funcref (elem $even $odd $finish $widen))
  (elem declare func $odd)
  (global $count (mut i32) (i32.const 0))

  ;; Each the tail of the other.
  (func $even (type $step)
    (if (i64.eqz (local.get 0)) (then (return (local.get 1))))
    (return_call $odd
      (i64.sub (local.get 0) (i64.const 1))
      (i64.add (i64.rotl (local.get 1) (i64.const 3)) (local.get 0))))
  (func $odd (type $step)
    (local $k i32)
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (if (i64.eqz (local.get 0)) (then (return (i64.xor (local.get 1) (i64.const -1)))))
    (block $out
      (loop $again
        (br_if $out (i32.eq (local.get $k) (i32.const 2)))
        (local.set $k (i32.add (local.get $k) (i32.const 1)))
        (br $again)))
    (i64.const 99)
    (return_call_indirect (type $step)
      (i64.sub (local.get 0) (i64.const 1))
      (i64.mul (local.get 1) (i64.const 31))
      (i32.const 0)))

  ;; From two arguments in registers to nineteen, and back.
  (func $widen (type $step)
    (return_call $wide
      (local.get 0) (local.get 1) (i64.const 3) (i64.const 4) (i64.const 5)
      (i64.const 6) (i64.const 7) (i64.const 8)
      (f64.const 1) (f64.const 2) (f64.const 3) (f64.const 4) (f64.const 5)
      (f64.const 6) (f64.const 7) (f64.const 8) (f64.convert_i64_s (local.get 0))
      (i64x2.splat (local.get 1)) (v128.const i32x4 1 2 3 4)))
  (func $wide (type $wide)
    (local $sum i64)
    (local.set $sum
      (i64.add
        (i64.add (local.get 5) (i64.mul (local.get 6) (local.get 7)))
        (i64.trunc_sat_f64_s (f64.add (local.get 16) (f64.mul (local.get 15) (local.get 14))))))
    (local.set $sum
      (i64.add (local.get $sum)
        (i64x2.extract_lane 1 (i64x2.add (local.get 17) (local.get 18)))))
    (if (i64.gt_s (local.get 0) (i64.const 6))
      (then
        ;; The same again, the arguments moved round in their places.
        (return_call $wide
          (i64.sub (local.get 0) (i64.const 1)) (local.get $sum)
          (local.get 7) (local.get 2) (local.get 3) (local.get 4) (local.get 5) (local.get 6)
          (local.get 16) (local.get 8) (local.get 9) (local.get 10) (local.get 11)
          (local.get 12) (local.get 13) (local.get 14) (local.get 15)
          (local.get 18) (local.get 17))))
    (return_call_indirect (type $step)
      (i64.sub (local.get 0) (i64.const 1))
      (local.get $sum)
      (select (i32.const 3) (i32.const 2) (i64.gt_s (local.get 0) (i64.const 1)))))
  (func $finish (type $step)
    (return_call_ref $step
      (i64.const 5)
      (i64.add (local.get 0) (local.get 1))
      (ref.func $odd)))

  ;; More results than registers, handed through.
  (func $many (param $a i64)
    (result i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 f64)
    (return_call $results (local.get $a) (i64.const 2)))
  (func $results (param $a i64) (param $b i64)
    (result i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 f64)
    (local.get $a) (local.get $b)
    (i64.const 3) (i64.const 4) (i64.const 5) (i64.const 6)
    (i64.const 7) (i64.const 8) (i64.const 9)
    (i64.mul (local.get $a) (local.get $b))
    (f64.const 0.5))

  ;; Locals and operands must survive what happens in the callee's frames.
  (func $keep (param $n i64) (result i64)
    (local $a i64) (local $b f64) (local $v v128)
    (local.set $a (i64.mul (local.get $n) (i64.const 7)))
    (local.set $b (f64.convert_i64_s (local.get $a)))
    (local.set $v (i64x2.splat (local.get $a)))
    (i64.add
      (i64.xor
        (local.get $a)
        (i64.add (call $widen (local.get $n) (local.get $a)) (call $even (local.get $n) (i64.const 1))))
      (i64.add
        (i64.trunc_sat_f64_s (local.get $b))
        (i64x2.extract_lane 0 (local.get $v)))))

  (func (export "run") (result i64)
    (local $h i64) (local $f f64)
    (local.set $h (call $even (i64.const 400) (i64.const 1)))
    (local.set $h (i64.add (local.get $h) (call $keep (i64.const 11))))
    (local.set $h
      (i64.xor (local.get $h)
        (call_indirect (type $step) (i64.const 9) (local.get $h) (i32.const 3))))
    (call $many (local.get $h))
    (local.set $f)
    (i64.add) (i64.xor) (i64.add) (i64.xor) (i64.add) (i64.xor) (i64.add) (i64.xor) (i64.add)
    (i64.add (i64.extend_i32_u (global.get $count)))
    (i64.add (i64.trunc_sat_f64_s (f64.mul (local.get $f) (f64.const 10))))))

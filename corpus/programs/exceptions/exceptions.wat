;; Exceptions: what is thrown, who catches it, and what is left of the frames.
(module
  (type $thunk (func (param i32) (result i32)))
  (tag $number (param i32))
  (tag $pair (param i32 i64))
  (tag $floats (param f32 f64))
  (tag $lanes (param v128 i32))
  (tag $empty)
  (tag $many (param i32 i64 f32 f64 i32 i64 f32 f64 i32 i64 f32 f64 v128))
  (tag $refs (param funcref externref exnref))

  (memory 1)
  (global $steps (mut i32) (i32.const 0))
  (global $kept (mut exnref) (ref.null exn))
  (table $stash 4 exnref)
  (table $calls funcref (elem $odd_throws $even_throws $plain))
  (elem declare func $odd_throws)

  ;; hash * 31 + value
  (func $mix (param $value i64) (param $hash i64) (result i64)
    (i64.add (i64.mul (local.get $hash) (i64.const 31)) (local.get $value)))

  ;; Thrown and caught in one function, sixteen times.
  (func (export "same") (result i64)
    (local $i i32) (local $hash i64)
    (loop $again
      (block $caught (result i32)
        (try_table (catch $number $caught)
          (throw $number (i32.mul (local.get $i) (i32.const 7))))
        (unreachable))
      (local.set $hash (call $mix (i64.extend_i32_u) (local.get $hash)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 16))))
    (local.get $hash))

  ;; Through three frames that keep integers and floats in use around their
  ;; calls, down to one that throws.
  (func $bottom (param $x i32) (result i32)
    (if (i32.eqz (i32.and (local.get $x) (i32.const 1)))
      (then (throw $pair (i32.add (local.get $x) (i32.const 100)) (i64.const -5))))
    (if (i32.eq (i32.and (local.get $x) (i32.const 3)) (i32.const 3))
      (then (throw $floats (f32.convert_i32_s (local.get $x)) (f64.const 0.375))))
    (i32.mul (local.get $x) (i32.const 3)))
  (func $lower (param $x i32) (param $f f64) (result i32)
    (local $a i32) (local $b i64) (local $c i32) (local $d i64)
    (local.set $a (i32.mul (local.get $x) (i32.const 11)))
    (local.set $b (i64.extend_i32_s (i32.sub (local.get $x) (i32.const 50))))
    (local.set $c (i32.xor (local.get $a) (i32.const 0x5a5a)))
    (local.set $d (i64.mul (local.get $b) (local.get $b)))
    (i32.add
      (i32.add (call $bottom (local.get $x)) (local.get $a))
      (i32.add
        (i32.wrap_i64 (i64.add (local.get $b) (local.get $d)))
        (i32.add (local.get $c) (i32.trunc_f64_s (local.get $f))))))
  (func $upper (param $x i32) (result i32)
    (local $e i32) (local $f f32)
    (local.set $e (i32.rotl (local.get $x) (i32.const 9)))
    (local.set $f (f32.convert_i32_s (local.get $e)))
    (i32.add
      (call $lower (local.get $x) (f64.promote_f32 (local.get $f)))
      (i32.add (local.get $e) (i32.trunc_f32_s (local.get $f)))))
  (func (export "frames") (result i64)
    (local $i i32) (local $p i32) (local $q i64) (local $hash i64)
    (local $f f64) (local $g f32)
    (local.set $f (f64.const 1.5))
    (local.set $g (f32.const 2.25))
    (loop $again
      (local.set $p (i32.mul (local.get $i) (i32.const 17)))
      (local.set $q (i64.shl (i64.extend_i32_u (local.get $p)) (i64.const 20)))
      (block $done
        (block $pair (result i32 i64)
          (block $floats (result f32 f64)
            (try_table (catch $pair $pair) (catch $floats $floats)
              (local.set $hash
                (call $mix (i64.extend_i32_s (call $upper (local.get $i))) (local.get $hash))))
            (br $done))
          ;; $floats
          (local.set $f (f64.add (local.get $f)))
          (local.set $g (f32.add (local.get $g)))
          (br $done))
        ;; $pair
        (local.set $q (i64.add (local.get $q)))
        (local.set $p (i32.add (local.get $p))))
      (local.set $hash (call $mix (i64.extend_i32_s (local.get $p)) (local.get $hash)))
      (local.set $hash (call $mix (local.get $q) (local.get $hash)))
      (local.set $hash (call $mix (i64.reinterpret_f64 (local.get $f)) (local.get $hash)))
      (local.set $hash
        (call $mix (i64.extend_i32_u (i32.reinterpret_f32 (local.get $g))) (local.get $hash)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 12))))
    (local.get $hash))

  ;; Vectors: thrown, and waiting in the frame that catches.
  (func $throw_lanes (param $v v128) (param $n i32)
    (throw $lanes (i32x4.mul (local.get $v) (i32x4.splat (local.get $n))) (local.get $n)))
  (func (export "vectors") (result i64)
    (local $v v128) (local $w v128) (local $i i32)
    (local.set $v (v128.const i32x4 1 2 3 4))
    (local.set $w (v128.const i64x2 0x123456789abcdef0 -1))
    (loop $again
      (local.set $v (i32x4.add (local.get $v) (i32x4.splat (local.get $i))))
      (block $caught (result v128 i32)
        (try_table (catch $lanes $caught)
          (call $throw_lanes (local.get $v) (local.get $i)))
        (unreachable))
      (local.set $i (i32.add (i32.const 1)))
      (local.set $w (i8x16.add (local.get $w)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 9))))
    (i64.xor
      (i64.xor (i64x2.extract_lane 0 (local.get $w)) (i64x2.extract_lane 1 (local.get $w)))
      (i64x2.extract_lane 1 (local.get $v))))

  ;; Caught with its reference, looked at, and thrown again by it.
  (func $relay (param $x i32)
    (block $caught (result i32 exnref)
      (try_table (catch_ref $number $caught) (throw $number (local.get $x)))
      (unreachable))
    (global.set $kept)
    (global.set $steps (i32.add (global.get $steps)))
    (throw_ref (global.get $kept)))
  (func (export "rethrow") (result i64)
    (local $i i32) (local $e exnref) (local $hash i64)
    (loop $again
      (block $first (result i32 exnref)
        (try_table (catch_ref $number $first) (call $relay (local.get $i)))
        (unreachable))
      (table.set $stash (i32.const 1) (table.get $stash (i32.const 0)))
      (local.set $e)
      (table.set $stash (i32.const 0) (local.get $e))
      (local.set $hash (call $mix (i64.extend_i32_s) (local.get $hash)))
      ;; The same one once more, and the one from the round before.
      (block $second (result i32)
        (try_table (catch $number $second) (throw_ref (local.get $e)))
        (unreachable))
      (local.set $hash (call $mix (i64.extend_i32_s) (local.get $hash)))
      (if (i32.eqz (ref.is_null (table.get $stash (i32.const 1))))
        (then
          (block $third (result i32)
            (try_table (catch $number $third) (throw_ref (table.get $stash (i32.const 1))))
            (unreachable))
          (local.set $hash (call $mix (i64.extend_i32_s) (local.get $hash)))))
      (local.set $i (i32.add (local.get $i) (i32.const 3)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 20))))
    (call $mix (i64.extend_i32_u (global.get $steps)) (local.get $hash)))

  ;; catch_all and catch_all_ref, of tags with and without arguments.
  (func $assorted (param $x i32)
    (block $three (block $two (block $one (block $zero
      (br_table $zero $one $two $three (i32.rem_u (local.get $x) (i32.const 4))))
      (throw $empty))
      (throw $many
        (local.get $x) (i64.const 2) (f32.const 3) (f64.const 4)
        (i32.const 5) (i64.const 6) (f32.const 7) (f64.const 8)
        (i32.const 9) (i64.const 10) (f32.const 11) (f64.const 12)
        (v128.const i32x4 13 14 15 16)))
      (throw $number (local.get $x)))
    (throw $floats (f32.const -1) (f64.const -2)))
  (func (export "all") (result i64)
    (local $i i32) (local $hash i64) (local $e exnref)
    (local.set $hash (i64.const 1))
    (loop $again
      (block $any
        (try_table (catch_all $any)
          (call $assorted (local.get $i)))
        (unreachable))
      (local.set $hash (call $mix (i64.extend_i32_u (local.get $i)) (local.get $hash)))
      (block $never
        (block $any (result exnref)
          (try_table (catch $empty $never) (catch_all_ref $any)
            (call $assorted (i32.add (local.get $i) (i32.const 1))))
          (unreachable))
        (local.set $e))
      (block $done
        (block $many
          (result i32 i64 f32 f64 i32 i64 f32 f64 i32 i64 f32 f64 v128)
          (try_table (catch $many $many) (catch_all $done) (throw_ref (local.get $e)))
          (unreachable))
        (i32x4.extract_lane 2)
        (i32.trunc_f64_s (f64.add (f64.convert_i32_s)))
        (drop)
        (i32.trunc_f32_s)
        (i64.extend_i32_s)
        (i64.add)
        (local.set $hash (call $mix (local.get $hash)))
        (drop) (drop) (drop) (drop) (drop) (drop) (drop) (drop)
        (i64.extend_i32_s)
        (local.set $hash (call $mix (local.get $hash))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 11))))
    (local.get $hash))

  ;; Scopes in scopes: the innermost that fits, clauses from first to last, and
  ;; what a clause's code throws is not its own.
  (func $nest (param $x i32) (result i32)
    (block $outer (result i32)
      (block $inner (result i32)
        (block $nothing
          (try_table (catch $number $outer) (catch_all $nothing)
            (i32.const 1000)
            (block $mine (result i32)
              (try_table (catch $number $mine) (catch $number $inner)
                (block $blank
                  (try_table (catch $empty $blank)
                    (call $assorted (local.get $x)))
                  (unreachable))
                (throw $number (i32.const 77)))
              (unreachable))
            (i32.add)
            (br_if $inner (i32.lt_s (local.get $x) (i32.const 4)))
            (throw $number)))
        (return (i32.const -9)))
      (i32.const 5)
      (i32.sub))
    (i32.const 10000)
    (i32.add))
  (func (export "nested") (result i64)
    (local $i i32) (local $hash i64)
    (loop $again
      (local.set $hash (call $mix (i64.extend_i32_s (call $nest (local.get $i))) (local.get $hash)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 9))))
    (local.get $hash))

  ;; A clause whose label is a loop: the handler continues at its first
  ;; instruction. Operands wait below the try_table.
  (func (export "loop") (result i32)
    (local $i i32)
    (i32.const 40)
    (i32.const 2)
    (i32.const 0)
    (loop $again (param i32) (result i32)
      (local.set $i (i32.add (i32.const 1)))
      (try_table (result i32) (catch $number $again)
        (if (i32.lt_s (local.get $i) (i32.const 60))
          (then (drop (call $upper_throws (local.get $i)))))
        (local.get $i)))
    (i32.add)
    (i32.add))
  (func $upper_throws (param $x i32) (result i32)
    (i32.mul (call $odd_throws (local.get $x)) (i32.const 2)))
  (func $odd_throws (param $x i32) (result i32)
    (if (i32.and (local.get $x) (i32.const 1))
      (then (throw $number (i32.add (local.get $x) (i32.const 1)))))
    (throw $number (local.get $x)))
  (func $even_throws (param $x i32) (result i32)
    (if (i32.eqz (i32.and (local.get $x) (i32.const 1)))
      (then (throw $pair (local.get $x) (i64.const 3))))
    (local.get $x))
  (func $plain (param $x i32) (result i32)
    (i32.shl (local.get $x) (i32.const 4)))

  ;; Through call_indirect and call_ref.
  (func (export "indirect") (result i64)
    (local $i i32) (local $hash i64)
    (loop $again
      (block $done
        (block $pair (result i32 i64)
          (block $number (result i32)
            (try_table (catch $number $number) (catch $pair $pair)
              (local.set $hash
                (call $mix (i64.extend_i32_s
                    (call_indirect $calls (type $thunk)
                      (local.get $i) (i32.rem_u (local.get $i) (i32.const 3)))) (local.get $hash)))
              (local.set $hash
                (call $mix (i64.extend_i32_s
                    (call_ref $thunk (local.get $i) (ref.func $odd_throws))) (local.get $hash))))
            (unreachable))
          (local.set $hash (call $mix (i64.extend_i32_s) (local.get $hash)))
          (br $done))
        (local.set $hash (call $mix (local.get $hash)))
        (local.set $hash (call $mix (i64.extend_i32_s) (local.get $hash))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 12))))
    (local.get $hash))

  ;; A tail call leaves the try_table that it is in; what its callee throws is
  ;; the caller's. Arguments on the stack make frames move.
  (func $wide (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i64) (result i32)
    (throw $pair (i32.add (local.get 0) (local.get 8)) (local.get 9)))
  (func $hop (param $x i32) (result i32)
    (block $not_here (result i32 i64)
      (try_table (catch $pair $not_here)
        (return_call $wide
          (local.get $x) (i32.const 1) (i32.const 2) (i32.const 3) (i32.const 4)
          (i32.const 5) (i32.const 6) (i32.const 7) (i32.const 8) (i64.const 9)))
      (unreachable))
    (unreachable))
  (func $hops (param $x i32) (result i32)
    (if (i32.and (local.get $x) (i32.const 1))
      (then (return_call_indirect $calls (type $thunk) (local.get $x) (i32.const 0))))
    (return_call $hop (local.get $x)))
  (func (export "tail") (result i64)
    (local $i i32) (local $hash i64)
    (loop $again
      (block $done
        (block $number (result i32)
          (block $pair (result i32 i64)
            (try_table (catch $pair $pair) (catch $number $number)
              (drop (i32.add (call $hops (local.get $i)) (local.get $i))))
            (unreachable))
          (local.set $hash (call $mix (local.get $hash)))
          (local.set $hash (call $mix (i64.extend_i32_s) (local.get $hash)))
          (br $done))
        (local.set $hash (call $mix (i64.extend_i32_s) (local.get $hash))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 8))))
    (local.get $hash))

  ;; References as arguments, an exception among them.
  (func $throw_refs (param $e exnref)
    (throw $refs (ref.func $odd_throws) (ref.null extern) (local.get $e)))
  (func (export "references") (result i32)
    (local $e exnref) (local $f funcref) (local $null i32)
    (block $number (result i32 exnref)
      (try_table (catch_ref $number $number) (throw $number (i32.const 31)))
      (unreachable))
    (local.set $e)
    (block $refs (result funcref externref exnref)
      (try_table (catch $refs $refs) (call $throw_refs (local.get $e)))
      (unreachable))
    (local.set $e)
    (local.set $null (ref.is_null))
    (local.set $f)
    (i32.add (local.get $null))
    (block $again (result i32)
      (try_table (catch $number $again) (throw_ref (local.get $e)))
      (unreachable))
    (i32.mul)
    (i32.add (ref.is_null (local.get $f))))

  ;; Hundreds of frames are gone at once; memory and globals stay.
  (func $dig (param $depth i32) (param $f f64) (result f64)
    (i32.store (i32.shl (local.get $depth) (i32.const 2)) (local.get $depth))
    (global.set $steps (i32.add (global.get $steps) (i32.const 1)))
    (if (i32.eqz (local.get $depth))
      (then (throw $floats (f32.const 0.5) (local.get $f))))
    (f64.add
      (call $dig (i32.sub (local.get $depth) (i32.const 1)) (f64.mul (local.get $f) (f64.const 1.0625)))
      (local.get $f)))
  (func (export "deep") (result f64)
    (local $base f64)
    (local.set $base (f64.const 3.5))
    (block $caught (result f32 f64)
      (try_table (catch $floats $caught)
        (drop (call $dig (i32.const 300) (f64.const 1))))
      (unreachable))
    (f64.add (local.get $base))
    (f64.add (f64.convert_i32_u (i32.add (i32.load offset=800 (i32.const 0)) (global.get $steps))))
    (local.set $base)
    (f64.promote_f32)
    (f64.add (local.get $base)))

  ;; try_table with parameters and results, left by falling out, by branches and
  ;; by return, and with nothing to catch.
  (func $leave (param $x i32) (result i32)
    (local $y i32)
    (block $out (result i32)
      (i32.const 3)
      (local.get $x)
      (try_table (param i32 i32) (result i32) (catch $number $out)
        (i32.add)
        (local.tee $y)
        (br_if $out (local.get $y) (i32.eq (local.get $x) (i32.const 1)))
        (drop)
        (if (i32.eq (local.get $x) (i32.const 2)) (then (return (i32.const -2))))
        (if (i32.eq (local.get $x) (i32.const 3)) (then (drop (call $odd_throws (local.get $y)))))
        (try_table (param i32) (result i32)
          (call $plain)))
      (i32.const 1)
      (i32.add)))
  (func (export "leave") (result i64)
    (local $i i32) (local $hash i64)
    (loop $again
      (local.set $hash (call $mix (i64.extend_i32_s (call $leave (local.get $i))) (local.get $hash)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 6))))
    (local.get $hash))

  ;; Tail calls with arguments on the stack where no execution comes: behind a
  ;; clause that nothing can reach, and under a condition that is known.
  (func $gone (param $x i32) (result i32)
    (if (i32.const 0)
      (then
        (return_call $wide
          (local.get $x) (i32.const 1) (i32.const 2) (i32.const 3) (i32.const 4)
          (i32.const 5) (i32.const 6) (i32.const 7) (i32.const 8) (i64.const 9))))
    (i32.add (local.get $x) (i32.const 1)))
  (func $behind (param $x i32) (result i32)
    (block $never
      (try_table (catch $empty $never)
        (return (i32.add (local.get $x) (i32.const 2)))))
    (return_call $wide
      (local.get $x) (i32.const 1) (i32.const 2) (i32.const 3) (i32.const 4)
      (i32.const 5) (i32.const 6) (i32.const 7) (i32.const 8) (i64.const 9)))
  (func (export "gone") (result i32)
    (i32.mul (call $gone (i32.const 4)) (call $behind (i32.const 5))))

  ;; Values that wait in a frame which a tail call may make lie lower.
  (func $lowered (param $x i32) (param $y i64) (result i32)
    (local $a i32) (local $f f64) (local $v v128)
    (local.set $a (i32.mul (local.get $x) (i32.const 13)))
    (local.set $f (f64.convert_i64_s (local.get $y)))
    (local.set $v (i64x2.splat (local.get $y)))
    (block $caught (result i32)
      (try_table (catch $number $caught)
        (drop (call $odd_throws (local.get $x))))
      (unreachable))
    (if (i32.gt_s (i32.const 5))
      (then
        (return_call $wide
          (local.get $a) (i32.wrap_i64 (local.get $y)) (local.get $x) (i32.const 3)
          (i32.const 4) (i32.const 5) (i32.const 6) (i32.const 7)
          (i32.trunc_f64_s (local.get $f)) (i64x2.extract_lane 1 (local.get $v)))))
    (i32.add
      (i32.add (local.get $a) (i32.trunc_f64_s (local.get $f)))
      (i32x4.extract_lane 2 (local.get $v))))
  (func (export "lowered") (result i64)
    (local $i i32) (local $hash i64)
    (loop $again
      (block $done
        (block $pair (result i32 i64)
          (try_table (catch $pair $pair)
            (local.set $hash
              (call $mix
                (i64.extend_i32_s (call $lowered (local.get $i) (i64.const 1001)))
                (local.get $hash))))
          (br $done))
        (local.set $hash (call $mix (local.get $hash)))
        (local.set $hash (call $mix (i64.extend_i32_s) (local.get $hash))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 10))))
    (local.get $hash))

  ;; In its own place, until it throws out of a call that it makes.
  (func $around (param $x i32) (param $sum i32) (result i32)
    (local.set $sum
      (i32.add (local.get $sum) (call $even_throws (i32.add (local.get $x) (local.get $x)))))
    (return_call $around (i32.sub (local.get $x) (i32.const 1)) (local.get $sum)))
  (func $odds (param $x i32) (param $sum i32) (result i32)
    (local.set $sum
      (i32.add (i32.mul (local.get $sum) (i32.const 3))
        (call $even_throws (i32.sub (i32.mul (local.get $x) (local.get $x)) (local.get $x)
          (i32.const 1) (i32.add)))))
    (if (i32.eqz (local.get $x)) (then (return_call $around (i32.const 1) (local.get $sum))))
    (return_call $odds (i32.sub (local.get $x) (i32.const 1)) (local.get $sum)))
  (func (export "around") (result i64)
    (local $n i64)
    (block $caught (result i32 i64)
      (try_table (catch $pair $caught)
        (drop (call $odds (i32.const 20) (i32.const 1))))
      (unreachable))
    (local.set $n)
    (i64.add (i64.extend_i32_s) (local.get $n)))

  ;; Nobody catches it: not the scope left before, nor the one for another tag.
  (func (export "uncaught") (result i32)
    (block $other (result i32)
      (try_table (catch $number $other) (drop (call $plain (i32.const 1))))
      (try_table (catch $number $other) (drop (call $even_throws (i32.const 6))))
      (i32.const 0)))

  (func (export "null")
    (block $any
      (try_table (catch_all $any)
        (throw_ref (ref.null exn))))))

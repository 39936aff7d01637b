;; The exception instructions of before `try_table`: try, catch, catch_all,
;; rethrow, delegate.
(module
  (tag $number (param i32))
  (tag $pair (param i32 i64))
  (tag $float (param f64))
  (tag $empty)
  (global $steps (mut i32) (i32.const 0))
  (table funcref (elem $throws $passes))
  (type $one (func (param i32) (result i32)))

  ;; hash * 31 + value
  (func $mix (param $value i64) (param $hash i64) (result i64)
    (i64.add (i64.mul (local.get $hash) (i64.const 31)) (local.get $value)))

  (func $throws (param $x i32) (result i32)
    (block $two (block $one (block $zero
          (br_table $zero $one $two (i32.rem_u (local.get $x) (i32.const 4))))
        (throw $number (local.get $x)))
      (throw $pair (local.get $x) (i64.const 1000)))
    (if (i32.eq (i32.rem_u (local.get $x) (i32.const 4)) (i32.const 2))
      (then (throw $float (f64.convert_i32_u (local.get $x)))))
    (throw $empty))
  (func $passes (param $x i32) (result i32)
    (local $a i32) (local $f f64)
    (local.set $a (i32.mul (local.get $x) (i32.const 5)))
    (local.set $f (f64.convert_i32_s (local.get $a)))
    (i32.add (call $throws (local.get $x))
      (i32.add (local.get $a) (i32.trunc_f64_s (local.get $f)))))

  ;; Several clauses, values that live on in them, operands below.
  (func $clauses (param $x i32) (result i64)
    (local $a i64) (local $f f64) (local $v v128)
    (local.set $a (i64.extend_i32_s (i32.add (local.get $x) (i32.const 3))))
    (local.set $f (f64.const 0.5))
    (local.set $v (i32x4.splat (local.get $x)))
    (i64.const 7)
    try (result i64)
      (i64.extend_i32_s (call $passes (local.get $x)))
    catch $number (local.set $a (i64.add (i64.extend_i32_s) (local.get $a)))
      (local.get $a)
    catch $pair (local.set $a (i64.add (local.get $a)))
      (i64.extend_i32_s)
      (i64.add (local.get $a))
    catch $float (local.set $f (f64.add (local.get $f)))
      (i64.reinterpret_f64 (local.get $f))
    catch_all (i64.extend_i32_s (i32x4.extract_lane 2 (local.get $v)))
    end
    (i64.add))

  ;; Caught, looked at, and thrown on; from within inner constructs too.
  (func $again (param $x i32) (result i32)
    try (result i32)
      (call $throws (local.get $x))
    catch $number (global.set $steps (i32.add (global.get $steps)))
      (block (loop (rethrow 2)))
      (unreachable)
    catch_all (global.set $steps (i32.add (global.get $steps) (i32.const 1)))
      try (result i32)
        (throw $number (i32.const 50))
      catch $number (global.set $steps (i32.add (global.get $steps)))
        (rethrow 1)
      end
    end)
  (func $rethrow (param $x i32) (result i64)
    (local $wide i64)
    try (result i64)
      (i64.extend_i32_s (call $again (local.get $x)))
    catch $number (i64.extend_i32_s (i32.add (i32.const 200)))
    catch $pair (local.set $wide) (i64.add (i64.extend_i32_s) (local.get $wide))
    catch $float (i64.trunc_f64_s)
    catch_all (i64.const -3)
    end)

  ;; Past the handlers between, to a try, a block and the caller.
  (func $delegate (param $x i32) (result i32)
    try $outer (result i32)
      try (result i32)
        try (result i32)
          (block $here (result i32)
            try (result i32)
              (call $throws (local.get $x))
            delegate $outer)
        catch_all (i32.const -100)
        end
      catch $number (i32.add (i32.const -200))
      end
    catch $number (i32.add (i32.const 1))
    catch $pair (drop) (i32.add (i32.const 2))
    catch $float (drop)
      try (result i32)
        (block $inner (result i32)
          try (result i32)
            (throw $number (i32.const 9))
          delegate $inner)
      catch $number (i32.add (i32.const 300))
      end
    end)
  (func $out (param $x i32) (result i32)
    try (result i32)
      try (result i32)
        (call $delegate (local.get $x))
      delegate 1
    catch_all (i32.const -1)
    end)
  (func $outside (param $x i32) (result i64)
    try (result i64)
      (i64.extend_i32_s (call $out (local.get $x)))
    catch $empty (i64.const 77)
    end)

  ;; In a loop, through a table, with a try without clauses.
  (func (export "run") (result i64)
    (local $i i32) (local $hash i64)
    (loop $more
      (local.set $hash (call $mix (call $clauses (local.get $i)) (local.get $hash)))
      (local.set $hash (call $mix (call $rethrow (local.get $i)) (local.get $hash)))
      (local.set $hash (call $mix (call $outside (local.get $i)) (local.get $hash)))
      try
        try
          (drop (call_indirect (type $one)
              (local.get $i) (i32.and (local.get $i) (i32.const 1))))
        end
      catch $number (local.set $hash (call $mix (i64.extend_i32_s) (local.get $hash)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $i) (i32.const 13)))
      catch_all (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $i) (i32.const 13)))
      end
      (br_if $more (i32.lt_u (local.get $i) (i32.const 13))))
    (call $mix (i64.extend_i32_s (global.get $steps)) (local.get $hash)))

  ;; What a clause throws is not its own.
  (func (export "uncaught") (result i32)
    try (result i32)
      (call $throws (i32.const 5))
    catch $pair (drop) (throw $number)
    catch $number (i32.add (i32.const 1))
    catch_all (i32.const 0)
    end))

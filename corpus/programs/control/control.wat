;; Structured control in every shape: empty bodies, ifs with one arm, with two,
;; with empty ones; blocks and loops that take and give several values;
;; branches over values, out of loops, to the function; dead code.
(module
  (type $swap (func (param i32 i64) (result i64 i32)))
  (global $sum (mut i64) (i64.const 1))
  (func $note (param $value i64)
    (global.set $sum
      (i64.add (i64.mul (global.get $sum) (i64.const 1099511628211)) (local.get $value))))

  (func $empties (param $c i32)
    (block)
    (loop)
    (block (loop (block)))
    (if (local.get $c) (then))
    (if (local.get $c) (then) (else))
    (if (local.get $c) (then (call $note (i64.const 1))))
    (if (local.get $c) (then (call $note (i64.const 2))) (else))
    (if (local.get $c) (then) (else (call $note (i64.const 3))))
    (if (i32.eqz (local.get $c)) (then (nop)) (else (nop) (nop)))
    (block $b (br_if $b (local.get $c)))
    (block $b (br $b))
    (block $b (loop $l (br_if $b (local.get $c)) (br $b))))

  ;; Parameters and results of blocks.
  (func $multi (param $x i32) (result i32 i64)
    (local.get $x)
    (i64.const 40)
    (block (param i32 i64) (result i64 i32)
      (i64.extend_i32_s (local.get $x))
      (i64.add)
      (block (type $swap)
        (local.set $x (i32.wrap_i64))
        (i64.extend_i32_s)
        (local.get $x)))
    (if (param i64) (result i64 f64) (i32.lt_s (i32.const 50))
      (then (i64.const 1) (i64.shl) (f64.const 1.5))
      (else (f64.const -2.5)))
    (i64.trunc_f64_s)
    (i64.xor)
    (i32.const 3)
    (loop $l (param i64 i32) (result i64)
      (local.set $x)
      (i64.const 5)
      (i64.mul)
      (i32.sub (local.get $x) (i32.const 1))
      (local.tee $x)
      (local.get $x)
      (br_if $l)
      (drop))
    (local.get $x)
    (call $swapped))
  (func $swapped (type $swap_result) (local.get 1) (local.get 0))
  (type $swap_result (func (param i64 i32) (result i32 i64)))

  ;; The loop's own parameters count down and add up.
  (func $loop_params (param $n i64) (result i64)
    (i64.const 0)
    (local.get $n)
    (loop $l (param i64 i64) (result i64)
      (local.set $n)
      (i64.add (local.get $n))
      (i64.sub (local.get $n) (i64.const 1))
      (local.tee $n)
      (i64.ne (local.get $n) (i64.const 0))
      (br_if $l)
      (drop)))

  ;; Branches that throw values away.
  (func $discard (param $c i32) (result i32)
    (block $out (result i32)
      (i64.const 1)
      (f32.const 2)
      (block $in (result i32)
        (f64.const 3)
        (i32.const 10)
        (br_if $out (local.get $c))
        (i32.const 20)
        (br_if $in (i32.eq (local.get $c) (i32.const 0)))
        (drop)
        (drop)
        (drop)
        (i32.const 30))
      (local.set $c)
      (drop)
      (drop)
      (i32.add (local.get $c) (i32.const 1))))

  ;; What cannot be reached still has to validate.
  (func $dead (param $c i32) (result i32)
    (block $b
      (if (local.get $c)
        (then (br $b) (i32.add) (drop) (block (result i64) (i64.const 1)) (drop))
        (else (return (i32.const 5)) (loop $l (br $l))))
      (unreachable))
    (loop $l
      (local.set $c (i32.sub (local.get $c) (i32.const 1)))
      (br_if $l (i32.gt_s (local.get $c) (i32.const 0)))
      (return (i32.const 6)))
    (unreachable))

  (func $nested (param $n i32) (result i32)
    (local $i i32) (local $j i32) (local $hits i32)
    (block $done
      (loop $rows
        (br_if $done (i32.ge_u (local.get $i) (local.get $n)))
        (local.set $j (i32.const 0))
        (block $row_done
          (loop $columns
            (br_if $row_done (i32.gt_u (local.get $j) (local.get $i)))
            (if (i32.rem_u (i32.add (local.get $i) (local.get $j)) (i32.const 3))
              (then
                (if (i32.and (local.get $j) (i32.const 1))
                  (then (local.set $hits (i32.add (local.get $hits) (i32.const 1))))
                  (else
                    (local.set $j (i32.add (local.get $j) (i32.const 2)))
                    (br $columns))))
              (else (br_if $done (i32.gt_u (local.get $hits) (i32.const 60)))))
            (local.set $j (i32.add (local.get $j) (i32.const 1)))
            (br $columns)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $rows)))
    (i32.add (i32.mul (local.get $hits) (i32.const 1000)) (local.get $i)))

  (func $selects (param $c i32)
    (call $note (select (i64.const 10) (i64.const 20) (local.get $c)))
    (call $note (i64.extend_i32_u (select (i32.const 1) (i32.const 2) (i32.eqz (local.get $c)))))
    (call $note
      (i64.reinterpret_f64 (select (result f64) (f64.const 0.5) (f64.const -0) (local.get $c))))
    (call $note
      (i64.extend_i32_u
        (i32.reinterpret_f32 (select (f32.const 3) (f32.const 4) (local.get $c))))))

  ;; The names of values are lost early: swaps, copies, tees.
  (func $shuffle (param $a i64) (param $b i64) (param $n i32) (result i64)
    (local $t i64)
    (loop $l
      (local.set $t (local.get $a))
      (local.set $a (local.get $b))
      (local.set $b (local.get $t))
      (local.set $b (i64.add (local.get $b) (local.tee $t (i64.mul (local.get $a) (i64.const 3)))))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i64.xor (local.get $t) (i64.sub (local.get $a) (local.get $b))))

  (func (export "run") (result i64)
    (local $c i32) (local $low i32)
    (loop $each
      (call $empties (local.get $c))
      (call $multi (i32.mul (local.get $c) (i32.const 9)))
      (call $note)
      (local.set $low)
      (call $note (i64.extend_i32_u (local.get $low)))
      (call $note (call $loop_params (i64.extend_i32_u (i32.add (local.get $c) (i32.const 10)))))
      (call $note (i64.extend_i32_u (call $discard (local.get $c))))
      (call $note (i64.extend_i32_u (call $dead (local.get $c))))
      (call $note (i64.extend_i32_u (call $nested (i32.mul (local.get $c) (i32.const 6)))))
      (call $selects (local.get $c))
      (call $note (call $shuffle (i64.const 3) (i64.extend_i32_u (local.get $c)) (i32.const 20)))
      (br_if $each
        (i32.lt_u (local.tee $c (i32.add (local.get $c) (i32.const 1))) (i32.const 4))))
    (global.get $sum)))

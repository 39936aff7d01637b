;; br_table in the shapes that compilers treat specially: empty arms, one
;; target several times, a loop among the targets, a value carried along, out
;; of range and negative indices, only a default, more than a handful of arms.
(module
  (global $sum (mut i32) (i32.const 5381))
  (func $note (param $value i32)
    (global.set $sum
      (i32.xor (i32.mul (global.get $sum) (i32.const 33)) (local.get $value))))

  ;; Every arm but one is empty, so nothing lies between most of the `end`s.
  (func $empty_arms (param $i i32)
    (block $d
      (block $c
        (block $b
          (block $a
            (br_table $a $b $c $d $a $d (local.get $i)))
        ) ;; a falls through to here: empty
      ) ;; b: empty
      (call $note (i32.const 3)))
    (nop))

  ;; All targets are the same label: the branch decides nothing.
  (func $same (param $i i32)
    (block $out
      (br_table $out $out $out $out (local.get $i)))
    (call $note (local.get $i)))

  (func $only_default (param $i i32)
    (block $out
      (block $never (br_table $out (local.get $i))))
    (call $note (i32.const 8)))

  ;; The branch carries a value to wherever it goes.
  (func $carries (param $i i32) (result i32)
    (block $high (result i32)
      (block $low (result i32)
        (br_table $low $high $low $high (i32.add (local.get $i) (i32.const 1000)) (local.get $i)))
      (i32.mul (i32.const 3)))
    (i32.add (i32.const 1)))

  ;; A state machine: the loop itself is a target.
  (func $machine (param $state i32) (result i32)
    (local $steps i32)
    (block $done
      (loop $again
        (local.set $steps (i32.add (local.get $steps) (i32.const 1)))
        (br_if $done (i32.gt_u (local.get $steps) (i32.const 40)))
        (block $two
          (block $one
            (block $zero
              (br_table $zero $one $two $again $done
                (local.tee $state
                  (i32.rem_u
                    (i32.add (i32.mul (local.get $state) (i32.const 7)) (local.get $steps))
                    (i32.const 5)))))
            (call $note (i32.const 100))
            (br $again))
          (local.set $state (i32.add (local.get $state) (i32.const 2)))
          (br $again))
        (call $note (i32.const 102))
        (br $again)))
    (local.get $steps))

  ;; From inside nested ifs, out over values left on the stack.
  (func $unwinds (param $i i32) (result i64)
    (i64.const 7)
    (block $out (result i64)
      (i64.const 11)
      (block $mid (result i64)
        (i32.const 1) (f64.const 2.5) (i64.const 13)
        (if (result i64) (i32.lt_s (local.get $i) (i32.const 6))
          (then
            (i64.extend_i32_s (local.get $i))
            (br_table $mid $out 0 $mid (local.get $i)))
          (else (i64.const -1)))
        (br $out))
      (i64.mul))
    (i64.add))

  (func $wide (param $i i32) (result i32)
    (block $9 (block $8 (block $7 (block $6 (block $5
    (block $4 (block $3 (block $2 (block $1 (block $0
      (br_table $0 $1 $2 $3 $4 $5 $6 $7 $8 $0 $1 $2 $3 $4 $9 (local.get $i)))
      (return (i32.const 10))) (return (i32.const 21))) (return (i32.const 32)))
      ) (return (i32.const 54))) (return (i32.const 65))) (return (i32.const 76)))
      ) (return (i32.const 98)))
    (i32.const 109))

  ;; Targets the function itself.
  (func $returns (param $i i32) (result i32)
    (block $in (result i32)
      (br_table $in 1 $in 1 (i32.const 77) (local.get $i)))
    (i32.add (i32.const 1)))

  (func (export "run") (result i32)
    (local $i i32)
    (local.set $i (i32.const -2))
    (loop $next
      (call $empty_arms (local.get $i))
      (call $same (local.get $i))
      (call $only_default (local.get $i))
      (call $note (call $carries (local.get $i)))
      (call $note (call $machine (i32.and (local.get $i) (i32.const 3))))
      (call $note (i32.wrap_i64 (call $unwinds (local.get $i))))
      (call $note (call $wide (local.get $i)))
      (call $note (call $returns (local.get $i)))
      (br_if $next
        (i32.lt_s
          (local.tee $i (i32.add (local.get $i) (i32.const 1)))
          (i32.const 18))))
    (global.get $sum)))

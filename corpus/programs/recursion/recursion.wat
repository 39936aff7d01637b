;; Deep recursion: Ackermann's function, mutual recursion, and a chain of
;; frames with values waiting on the operand stack of each.
(module
  (func $ackermann (export "ackermann") (param $m i32) (param $n i32) (result i32)
    (if (i32.eqz (local.get $m))
      (then (return (i32.add (local.get $n) (i32.const 1)))))
    (if (i32.eqz (local.get $n))
      (then
        (return
          (call $ackermann (i32.sub (local.get $m) (i32.const 1)) (i32.const 1)))))
    (call $ackermann
      (i32.sub (local.get $m) (i32.const 1))
      (call $ackermann (local.get $m) (i32.sub (local.get $n) (i32.const 1)))))

  ;; Three values of three types lie under the recursive call in each frame.
  (func $chain (export "chain") (param $n i32) (result f64)
    (local $x i64)
    (if (i32.eqz (local.get $n)) (then (return (f64.const 0.5))))
    (local.set $x (i64.mul (i64.extend_i32_u (local.get $n)) (i64.const 0x100000001)))
    (f64.convert_i32_u (local.get $n))
    (f64.mul (f64.convert_i64_u (i64.shr_u (local.get $x) (i64.const 32))) (f64.const 0.25))
    (call $chain (i32.sub (local.get $n) (i32.const 1)))
    f64.add
    f64.sub)

  (func $even (param $n i32) (result i32)
    (if (result i32) (i32.eqz (local.get $n))
      (then (i32.const 1))
      (else (call $odd (i32.sub (local.get $n) (i32.const 1))))))
  (func $odd (param $n i32) (result i32)
    (if (result i32) (i32.eqz (local.get $n))
      (then (i32.const 0))
      (else (call $even (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "even") (param i32) (result i32) (call $even (local.get 0))))

;; More parameters than registers pass: nine integers and eleven floats, mixed,
;; so that some of each kind are on the native stack; directly, indirectly,
;; recursively, and with values waiting underneath.
(module
  (type $wide
    (func
      (param i32 f64 i64 f32 i32 i64 f64 f64 f32 i32 i64 f32 f64 i32 f64 f32 i64 f64 f32 i64)
      (result f64)))
  (table funcref (elem $weigh))
  (func $weigh (type $wide)
    (f64.convert_i32_s (local.get 0))
    (f64.add (local.get 1))
    (f64.add (f64.mul (f64.convert_i64_s (local.get 2)) (f64.const 3)))
    (f64.add (f64.mul (f64.promote_f32 (local.get 3)) (f64.const 4)))
    (f64.add (f64.mul (f64.convert_i32_u (local.get 4)) (f64.const 5)))
    (f64.sub (f64.mul (f64.convert_i64_s (local.get 5)) (f64.const 6)))
    (f64.add (f64.mul (local.get 6) (f64.const 7)))
    (f64.sub (f64.mul (local.get 7) (f64.const 8)))
    (f64.add (f64.mul (f64.promote_f32 (local.get 8)) (f64.const 9)))
    (f64.add (f64.mul (f64.convert_i32_s (local.get 9)) (f64.const 10)))
    (f64.add (f64.mul (f64.convert_i64_s (local.get 10)) (f64.const 11)))
    (f64.add (f64.mul (f64.promote_f32 (local.get 11)) (f64.const 12)))
    (f64.sub (f64.mul (local.get 12) (f64.const 13)))
    (f64.add (f64.mul (f64.convert_i32_s (local.get 13)) (f64.const 14)))
    (f64.add (f64.mul (local.get 14) (f64.const 15)))
    (f64.add (f64.mul (f64.promote_f32 (local.get 15)) (f64.const 16)))
    (f64.sub (f64.mul (f64.convert_i64_s (local.get 16)) (f64.const 17)))
    (f64.add (f64.mul (local.get 17) (f64.const 18)))
    (f64.add (f64.mul (f64.promote_f32 (local.get 18)) (f64.const 19)))
    (f64.add (f64.mul (f64.convert_i64_s (local.get 19)) (f64.const 20))))
  ;; Each level turns the parameters round by one of their kind.
  (func $rotate (type $wide)
    (if (i32.le_s (local.get 0) (i32.const 0))
      (then
        (return
          (call_indirect (type $wide)
            (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)
            (local.get 5) (local.get 6) (local.get 7) (local.get 8) (local.get 9)
            (local.get 10) (local.get 11) (local.get 12) (local.get 13) (local.get 14)
            (local.get 15) (local.get 16) (local.get 17) (local.get 18) (local.get 19)
            (i32.const 0)))))
    (f64.const 0.5)
    (call $rotate
      (i32.sub (local.get 0) (i32.const 1))
      (local.get 6)                                   ;; f64: 1 6 7 12 14 17
      (local.get 5)                                   ;; i64: 2 5 10 16 19
      (local.get 8)                                   ;; f32: 3 8 11 15 18
      (local.get 9)                                   ;; i32: 4 9 13
      (local.get 10) (local.get 7) (local.get 12) (local.get 11) (local.get 13)
      (local.get 16) (local.get 15) (local.get 14) (local.get 4) (local.get 17)
      (local.get 18) (local.get 19) (local.get 1) (local.get 3) (local.get 2))
    (f64.sub))
  (func (export "run") (param $depth i32) (result f64)
    (call $rotate
      (local.get $depth) (f64.const 1.5) (i64.const 2) (f32.const 3.25) (i32.const 4)
      (i64.const -5) (f64.const 6.5) (f64.const -7.75) (f32.const 8) (i32.const -9)
      (i64.const 10) (f32.const 11.5) (f64.const 12.125) (i32.const 13) (f64.const 14)
      (f32.const -15.5) (i64.const 16) (f64.const 17) (f32.const 18.25) (i64.const 19)))
  ;; The same from outside: every parameter comes from the host.
  (func (export "weigh") (type $wide)
    (call $weigh
      (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)
      (local.get 5) (local.get 6) (local.get 7) (local.get 8) (local.get 9)
      (local.get 10) (local.get 11) (local.get 12) (local.get 13) (local.get 14)
      (local.get 15) (local.get 16) (local.get 17) (local.get 18) (local.get 19))))

;; Typed function references: as parameters, results, locals, in tables and
;; globals; calls through them, branches on null, and the trap that is not met.
(module
  (type $op (func (param i64 i64) (result i64)))
  (type $pick (func (param i32) (result (ref $op))))
  (type $apply (func (param (ref null $op) i64 i64) (result i64)))
  (global $default (ref $op) (ref.func $add))
  (global $chosen (mut (ref null $op)) (ref.null $op))
  (table $ops 4 (ref null $op))
  (table $full 3 (ref $op) (ref.func $sub))
  (elem (table $ops) (i32.const 0) (ref null $op) (ref.func $add) (ref.func $sub) (ref.null $op))
  (elem declare func $mul $fold)

  (func $add (type $op) (i64.add (local.get 0) (local.get 1)))
  (func $sub (type $op) (i64.sub (local.get 0) (local.get 1)))
  (func $mul (type $op) (i64.mul (local.get 0) (local.get 1)))

  ;; Null means the default: one branch takes the reference along.
  (func $pick (type $pick)
    (block $found (result (ref $op))
      (br_on_non_null $found (table.get $ops (i32.and (local.get 0) (i32.const 3))))
      (global.get $default)))

  ;; And one leaves it behind; here it has to be moved on the way.
  (func $apply (type $apply)
    (block $none (result i64)
      (i64.const -7)
      (call_ref $op
        (local.get 1)
        (local.get 2)
        (br_on_null $none (local.get 0)))
      (i64.xor)))

  (func $fold (param $f (ref $op)) (param $n i64) (result i64)
    (local $g (ref $op)) (local $sum i64)
    (local.set $g (ref.as_non_null (local.get $f)))
    (loop $again
      (local.set $sum
        (call_ref $op (local.get $sum) (local.get $n) (local.get $g)))
      (local.set $g (call $pick (i32.wrap_i64 (local.get $n))))
      (local.set $n (i64.sub (local.get $n) (i64.const 1)))
      (br_if $again (i64.gt_s (local.get $n) (i64.const 0))))
    (local.get $sum))

  (func (export "run") (result i64)
    (local $h i64) (local $i i32)
    (table.set $ops (i32.const 3) (ref.func $mul))
    (loop $again
      (local.set $h
        (i64.add
          (i64.rotl (local.get $h) (i64.const 9))
          (call $apply
            (table.get $ops (i32.and (local.get $i) (i32.const 3)))
            (local.get $h)
            (i64.extend_i32_u (local.get $i)))))
      (global.set $chosen (call $pick (local.get $i)))
      (local.set $h
        (i64.xor (local.get $h)
          (call_ref $op (local.get $h) (i64.const 3)
            (select (result (ref null $op))
              (global.get $chosen) (global.get $default)
              (i32.and (local.get $i) (i32.const 1))))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 10))))
    (drop (table.grow $full (ref.func $mul) (i32.const 2)))
    (i64.add
      (call $fold (ref.func $mul) (i64.const 20))
      (i64.add
        (local.get $h)
        (call_indirect $full (type $op) (i64.const 6) (i64.const 7) (i32.const 4))))))

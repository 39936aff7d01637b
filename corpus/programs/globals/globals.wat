;; Globals of every type, mutable and not, exported and not, one that holds a
;; function, and a start function that has run before anything is called.
(module
  (global $constant i32 (i32.const 1000003))
  (global $counter (export "counter") (mut i32) (i32.const -5))
  (global $wide (export "wide") (mut i64) (i64.const 0x0123456789abcdef))
  (global $single (mut f32) (f32.const 0.1))
  (global $double (export "double") (mut f64) (f64.const -0x1.8p-3))
  (global $function (mut funcref) (ref.func $bump))
  (global $nothing (mut externref) (ref.null extern))
  (table 1 funcref)
  (start $start)
  (func $bump (param $by i32) (result i32)
    (global.set $counter (i32.add (global.get $counter) (local.get $by)))
    (global.get $counter))
  (func $start
    (global.set $counter (i32.const 100))
    (global.set $wide (i64.rotl (global.get $wide) (i64.const 12)))
    (table.set (i32.const 0) (global.get $function)))
  (func (export "run") (param $n i32) (result i32 i64 f32 f64 i32)
    (loop $l
      (drop (call_indirect (param i32) (result i32) (local.get $n) (i32.const 0)))
      (global.set $wide
        (i64.mul
          (i64.add (global.get $wide) (i64.extend_i32_s (global.get $counter)))
          (i64.extend_i32_u (global.get $constant))))
      (global.set $single
        (f32.add (f32.mul (global.get $single) (f32.const 1.5)) (f32.convert_i32_s (local.get $n))))
      (global.set $double
        (f64.div (f64.promote_f32 (global.get $single)) (f64.convert_i32_s (global.get $counter))))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (global.get $counter)
    (global.get $wide)
    (global.get $single)
    (global.get $double)
    (ref.is_null (global.get $nothing))))

;; Indirect calls and every table instruction, over three tables: one of
;; functions with holes, one that grows, one of external references.
(module
  (type $unary (func (param i32) (result i32)))
  (type $binary (func (param i32 i32) (result i32)))
  ;; The same type again: calls must go by structure, not by index.
  (type $unary2 (func (param i32) (result i32)))

  (table $ops 10 funcref)
  (table $grown 2 20 funcref)
  (table $handles 4 externref)

  (elem (table $ops) (i32.const 0) func $inc $dec $add $mul)
  (elem (table $ops) (i32.const 6) funcref (ref.func $square) (ref.null func) (ref.func $inc))
  (elem $passive func $square $dec $inc $add $mul)
  (elem $nulls externref (ref.null extern) (ref.null extern))
  (elem declare func $inc $square $twice)

  (func $inc (type $unary) (i32.add (local.get 0) (i32.const 1)))
  (func $dec (type $unary) (i32.sub (local.get 0) (i32.const 1)))
  (func $square (type $unary2) (i32.mul (local.get 0) (local.get 0)))
  (func $twice (type $unary) (i32.shl (local.get 0) (i32.const 1)))
  (func $add (type $binary) (i32.add (local.get 0) (local.get 1)))
  (func $mul (type $binary) (i32.mul (local.get 0) (local.get 1)))

  (global $favourite (mut funcref) (ref.func $inc))
  (global $sum (mut i32) (i32.const 17))
  (func $note (param $value i32)
    (global.set $sum
      (i32.add (i32.mul (global.get $sum) (i32.const 31)) (local.get $value))))

  (func $calls
    (call $note (call_indirect $ops (type $unary) (i32.const 41) (i32.const 0)))
    (call $note (call_indirect $ops (type $unary) (i32.const 41) (i32.const 1)))
    (call $note (call_indirect $ops (type $binary) (i32.const 6) (i32.const 7) (i32.const 2)))
    (call $note (call_indirect $ops (type $binary) (i32.const 6) (i32.const 7) (i32.const 3)))
    (call $note (call_indirect $ops (type $unary) (i32.const -9) (i32.const 6)))
    (call $note (call_indirect $ops (type $unary2) (i32.const 99) (i32.const 8))))

  (func $get_set (param $i i32)
    ;; Which entries are null, as bits.
    (local $nulls i32)
    (local $f funcref)
    (loop $next
      (local.set $f (table.get $ops (local.get $i)))
      (local.set $nulls
        (i32.or
          (i32.shl (local.get $nulls) (i32.const 1))
          (ref.is_null (local.get $f))))
      (br_if $next
        (i32.lt_u
          (local.tee $i (i32.add (local.get $i) (i32.const 1)))
          (table.size $ops))))
    (call $note (local.get $nulls))
    (table.set $ops (i32.const 4) (ref.func $twice))
    (call $note (call_indirect $ops (type $unary) (i32.const 21) (i32.const 4)))
    ;; From one table to the other, through a local and a global.
    (local.set $f (table.get $ops (i32.const 6)))
    (table.set $grown (i32.const 1) (local.get $f))
    (global.set $favourite (local.get $f))
    (table.set $grown (i32.const 0) (global.get $favourite))
    (call $note (call_indirect $grown (type $unary) (i32.const 12) (i32.const 1)))
    (call $note (call_indirect $grown (type $unary) (i32.const 13) (i32.const 0))))

  (func $grow_fill
    (call $note (table.grow $grown (ref.func $inc) (i32.const 5)))
    (call $note (table.size $grown))
    (call $note (call_indirect $grown (type $unary) (i32.const 100) (i32.const 6)))
    ;; Beyond the maximum: -1, and nothing changes.
    (call $note (table.grow $grown (ref.null func) (i32.const 100)))
    (call $note (table.size $grown))
    (table.fill $grown (i32.const 3) (ref.func $square) (i32.const 4))
    (call $note (call_indirect $grown (type $unary) (i32.const 11) (i32.const 2)))
    (call $note (call_indirect $grown (type $unary) (i32.const 11) (i32.const 3)))
    (call $note (call_indirect $grown (type $unary) (i32.const 11) (i32.const 6)))
    ;; Nothing, at the very end: legal.
    (table.fill $grown (table.size $grown) (ref.null func) (i32.const 0)))

  (func $copy_init
    (table.copy $grown $ops (i32.const 0) (i32.const 0) (i32.const 2))
    ;; Overlapping, both ways.
    (table.copy $ops $ops (i32.const 1) (i32.const 0) (i32.const 5))
    (call $note (call_indirect $ops (type $unary) (i32.const 50) (i32.const 1)))
    (call $note (call_indirect $ops (type $binary) (i32.const 50) (i32.const 3) (i32.const 4)))
    (table.copy $ops $ops (i32.const 0) (i32.const 3) (i32.const 4))
    (call $note (call_indirect $ops (type $binary) (i32.const 50) (i32.const 3) (i32.const 0)))
    (call $note (call_indirect $grown (type $unary) (i32.const 50) (i32.const 1)))
    (table.init $ops $passive (i32.const 2) (i32.const 1) (i32.const 3))
    (call $note (call_indirect $ops (type $unary) (i32.const 70) (i32.const 2)))
    (call $note (call_indirect $ops (type $unary) (i32.const 70) (i32.const 3)))
    (call $note (call_indirect $ops (type $binary) (i32.const 70) (i32.const 2) (i32.const 4)))
    (elem.drop $passive)
    (elem.drop $passive)
    ;; A dropped segment has length 0: nothing may still be taken from it.
    (table.init $ops $passive (i32.const 10) (i32.const 0) (i32.const 0)))

  (func $externals (param $handle externref)
    (call $note (table.size $handles))
    (call $note (ref.is_null (table.get $handles (i32.const 3))))
    (table.set $handles (i32.const 2) (local.get $handle))
    (call $note (ref.is_null (table.get $handles (i32.const 2))))
    (call $note (table.grow $handles (local.get $handle) (i32.const 3)))
    (call $note (table.size $handles))
    (table.fill $handles (i32.const 0) (local.get $handle) (i32.const 2))
    (table.init $handles $nulls (i32.const 1) (i32.const 0) (i32.const 2))
    (table.copy $handles $handles (i32.const 4) (i32.const 0) (i32.const 3))
    (call $note
      (ref.is_null
        (select (result externref)
          (table.get $handles (i32.const 4))
          (table.get $handles (i32.const 5))
          (global.get $sum)))))

  (func (export "run") (result i32)
    (call $calls)
    (call $get_set (i32.const 0))
    (call $grow_fill)
    (call $copy_init)
    (call $externals (ref.null extern))
    (global.get $sum))

  ;; For a caller that has an external reference to give.
  (func (export "externals") (param externref) (result i32)
    (call $externals (local.get 0))
    (global.get $sum)))

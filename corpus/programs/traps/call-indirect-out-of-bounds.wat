;; An indirect call just beyond the table.
(module
  (type $f (func (param i32) (result i32)))
  (type $g (func (param i64) (result i32)))
  (table 4 8 funcref)
  (elem (i32.const 0) $id $wide)
  (func $id (type $f) (local.get 0))
  (func $wide (type $g) (i32.wrap_i64 (local.get 0)))
  (func (export "run") (result i32)
    (call_indirect (type $f) (i32.const 1) (i32.const 4))))

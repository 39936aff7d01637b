;; A tail call through a table to a function of another type: its frame is still
;; there when it traps.
(module
  (type $f (func (param i64) (result i64)))
  (type $g (func (result i64)))
  (table funcref (elem $other))
  (func $other (type $g) (i64.const 1))
  (func $caller (param i64) (result i64)
    (return_call_indirect (type $f) (local.get 0) (i32.const 0)))
  (func (export "run") (result i64)
    (call $caller (i64.const 3))))

;; table.get just beyond the table.
(module
  (table $t 3 5 funcref)
  (elem $passive func $run $run)
  (elem declare func $run)
  (func $run)
  (func (export "run") (result i32)
    (ref.is_null (table.get $t (i32.const 3)))))

;; table.set just beyond the table.
(module
  (table $t 3 5 funcref)
  (elem $passive func $run $run)
  (elem declare func $run)
  (func $run)
  (func (export "run")
    (table.set $t (i32.const 3) (ref.func $run))))

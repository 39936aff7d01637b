;; table.copy of nothing, but from beyond the end.
(module
  (table $t 3 5 funcref)
  (elem $passive func $run $run)
  (elem declare func $run)
  (func $run)
  (func (export "run")
    (table.copy $t $t (i32.const 0) (i32.const 4) (i32.const 0))))

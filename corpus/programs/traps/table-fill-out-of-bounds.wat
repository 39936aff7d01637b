;; table.fill of which the last element does not fit: nothing may be filled.
(module
  (table $t 3 5 funcref)
  (elem $passive func $run $run)
  (elem declare func $run)
  (func $run)
  (func (export "run")
    (table.fill $t (i32.const 1) (ref.func $run) (i32.const 3))))

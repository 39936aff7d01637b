;; table.init beyond the end of the segment.
(module
  (table $t 3 5 funcref)
  (elem $passive func $run $run)
  (elem declare func $run)
  (func $run)
  (func (export "run")
    (table.init $t $passive (i32.const 0) (i32.const 1) (i32.const 2))))

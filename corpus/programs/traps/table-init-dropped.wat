;; table.init from a segment that was dropped.
(module
  (table $t 3 5 funcref)
  (elem $passive func $run $run)
  (elem declare func $run)
  (func $run)
  (func (export "run")
    (elem.drop $passive)
    (table.init $t $passive (i32.const 0) (i32.const 0) (i32.const 1))))

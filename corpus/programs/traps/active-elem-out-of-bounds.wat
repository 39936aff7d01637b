;; An active element segment that does not fit.
(module
  (table 2 funcref)
  (elem (i32.const 1) $run $run)
  (func $run (export "run")))

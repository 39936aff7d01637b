;; A tail call that needs more arguments on the stack than its function was
;; given, in a function that saves a register: the call frame information that
;; Cranelift 0.135.8 writes for x86-64 states the place of that register too low.
(module
  (func $wide (param i64 i64 i64 i64 i64 i64 i64 i64 i64 i64) (result i64)
    (i64.sub (local.get 9) (local.get 8)))
  (func $same (param i64) (result i64) (local.get 0))
  (func $narrow (param i64) (result i64)
    (return_call $wide
      (call $same (local.get 0))
      (local.get 0) (local.get 0) (local.get 0) (local.get 0)
      (local.get 0) (local.get 0) (local.get 0) (i64.const 7) (local.get 0)))
  ;; The parameter waits in a register that $narrow saves.
  (func (export "run") (param i64) (result i64)
    (i64.add (call $narrow (local.get 0)) (local.get 0))))

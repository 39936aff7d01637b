;; An exception that passes through a function with a handler that is not for it: the
;; call frame information that Cranelift 0.135.8 writes for riscv64 gives that function's
;; own frame pointer as its caller's.
(module
  (tag $mine)
  (tag $other)
  (func $thrower (throw $mine))
  (func $between
    (block $caught
      (try_table (catch $other $caught) (call $thrower))))
  (func (export "run") (param i64) (result i64)
    (block $caught
      (try_table (catch $mine $caught) (call $between)))
    (local.get 0)))

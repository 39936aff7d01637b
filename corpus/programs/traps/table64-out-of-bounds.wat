;; The low half of the index would do.
(module
  (table i64 3 funcref)
  (type $f (func (result i64)))
  (func $one (type $f) (i64.const 1))
  (elem (i64.const 0) $one $one $one)
  (func (export "run") (result i64)
    (call_indirect (type $f) (i64.const 0x100000001))))

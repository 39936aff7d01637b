;; Null where a function is promised.
(module
  (type $f (func (result i64)))
  (table 2 (ref null $f))
  (func (export "run") (result i64)
    (drop (ref.as_non_null (table.get (i32.const 1))))
    (i64.const 1)))

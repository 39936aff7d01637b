;; A call through a reference that is null.
(module
  (type $f (func (result i64)))
  (global $g (mut (ref null $f)) (ref.null $f))
  (func (export "run") (result i64)
    (call_ref $f (global.get $g))))

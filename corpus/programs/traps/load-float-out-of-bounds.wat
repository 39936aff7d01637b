;; A floating-point load that an addition could swallow.
(module
  (memory 1 2)
  (func (export "run") (result f64)
    (f64.add (f64.load offset=65530 (i32.const 0)) (f64.const 1))))

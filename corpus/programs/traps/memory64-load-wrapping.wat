;; Address and offset together exceed 64 bits: not address 15.
(module
  (memory i64 1)
  (func (export "run") (result i64)
    (i64.load offset=0x1000 (i64.const -0xff1))))

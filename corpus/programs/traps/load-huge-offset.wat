;; The largest offset and the largest address: their sum needs 33 bits and must not wrap.
(module
  (memory 1 2)
  (func (export "run") (result i32)
    (i32.load offset=0xffffffff (i32.const -1))))

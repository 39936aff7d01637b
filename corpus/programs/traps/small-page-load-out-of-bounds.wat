;; One byte beyond a memory that ends within a page of the processor.
(module
  (memory 100 (pagesize 1))
  (func (export "run") (result i64)
    (drop (i32.load8_u (i32.const 99)))
    (i64.load align=1 (i32.const 93))))

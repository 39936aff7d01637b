;; Straight-line 64-bit integer arithmetic in one tight loop.
(module
  (func (export "run") (param i32) (result i64) (local i64)
    loop
      local.get 1
      i64.const 3
      i64.mul
      i64.const 7
      i64.add
      local.set 1
      local.get 0
      i32.const 1
      i32.sub
      local.tee 0
      br_if 0
    end
    local.get 1))

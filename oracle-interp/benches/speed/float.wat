;; Floating point, every operation of which must look for NaN.
(module
  (func (export "run") (param i32) (result f64) (local f64)
    loop
      local.get 1
      f64.const 1.5
      f64.mul
      f64.const 0.25
      f64.add
      f64.const 1e9
      f64.min
      local.set 1
      local.get 0
      i32.const 1
      i32.sub
      local.tee 0
      br_if 0
    end
    local.get 1))

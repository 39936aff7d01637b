;; Every shape of control flow that has boundaries to lose: empty arms, missing
;; arms, several labels with one join, loops that never end or never repeat.
(module
  (memory 1)
  (global $g (mut i32) (i32.const 0))
  (table 4 funcref)
  (elem (i32.const 0) $empty $if-no-else)
  (type $binary (func (param i32 i32) (result i32)))

  (func $empty)
  (func $if-empty-then (param i32)
    (if (local.get 0) (then)))
  (func $if-empty-both (param i32)
    (if (local.get 0) (then) (else)))
  (func $if-empty-else (param i32)
    (if (local.get 0) (then (global.set $g (i32.const 1))) (else)))
  (func $if-no-else (export "if-no-else") (param i32) (result i32)
    (if (local.get 0) (then (global.set $g (i32.const 1))))
    (global.get $g))
  (func $if-value (param i32) (result i32)
    (if (result i32) (local.get 0) (then (i32.const 7)) (else (i32.const 8))))
  (func $if-params (param i32 i32) (result i32)
    local.get 0
    local.get 1
    if (param i32) (result i32) i32.const 1 i32.add end)
  (func $if-then-returns (param i32) (result i32)
    (if (local.get 0) (then (return (i32.const 1))))
    (i32.const 2))
  (func $if-both-return (param i32) (result i32)
    (if (local.get 0) (then (return (i32.const 1))) (else (return (i32.const 2))))
    (i32.const 3))
  (func $if-unreachable-then (param i32)
    (if (local.get 0) (then unreachable)))
  (func $if-branch-out (param i32)
    block
      local.get 0
      if
        br 1
      else
        br 0
      end
      nop
    end)
  (func $nested-blocks (param i32)
    block block block block
      local.get 0
      br_table 0 1 2 3 1
    end end end end)
  (func $table-same-join (param i32)
    block
      local.get 0
      br_table 0 0 0 0
    end)
  (func $table-values (param i32) (result i32)
    block (result i32)
      block (result i32)
        i32.const 5
        i32.const 6
        local.get 0
        br_table 0 1 2 0
      end
      i32.const 1
      i32.add
    end)
  (func $table-loop (param i32)
    block
      loop
        (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
        (br_table 0 1 0 1 0 (local.get 0))
      end
    end)
  (func $table-all-backwards (param i32)
    loop loop loop
      (br_table 0 1 2 (local.get 0))
    end end end)
  (func $table-default-only (param i32)
    block (br_table 0 (local.get 0)) end)
  (func $br-if-drops (param i32) (result i32)
    block (result i32)
      i32.const 1
      i32.const 2
      local.get 0
      br_if 0
      drop
    end)
  (func $br-if-falls-into-target (param i32)
    block local.get 0 br_if 0 end)
  (func $br-if-constant
    block i32.const 1 br_if 0 nop end)
  (func $br-if-fused (param i32 i32)
    block (br_if 0 (i32.lt_s (local.get 0) (local.get 1))) (global.set $g (i32.const 3)) end)
  (func $loop-counts (export "loop-counts") (param i32) (result i32) (local i32)
    (loop
      (local.set 1 (i32.add (local.get 1) (local.get 0)))
      (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (local.get 1))
  (func $loop-params (param i32) (result i32)
    i32.const 10
    local.get 0
    loop (param i32 i32) (result i32)
      i32.add
      local.tee 0
      local.get 0
      local.get 0
      br_if 0
      drop
    end)
  (func $loop-forever
    loop br 0 end)
  (func $loop-forever-then-code (result i32)
    loop br 0 end
    i32.const 1)
  (func $loop-once
    loop nop end)
  (func $loop-empty
    loop end loop end)
  (func $loop-at-entry (param i32)
    loop (br_if 0 (local.get 0)) end)
  (func $dead-after-branch (param i32)
    block
      br 0
      local.get 0
      if nop else nop end
      loop end
      drop
    end)
  (func $dead-block-after-return (result i32)
    i32.const 1
    return
    block (result i32) i32.const 2 end
    i32.add)
  (func $unreachable-in-block
    block unreachable end
    nop)
  (func $branch-to-function (param i32) (result i32)
    i32.const 1
    local.get 0
    br_if 0
    block
      i32.const 2
      br 1
    end
    nop)
  (func $many-results (param i32 i64 f32 f64) (result f64 f32 i64 i32 i32 i64)
    local.get 3 local.get 2 local.get 1 local.get 0 local.get 0 local.get 1)
  (func $calls (param i32 i64 f32 f64) (result i64) (local i64)
    local.get 1
    local.get 0 local.get 1 local.get 2 local.get 3
    call $many-results
    local.set 4
    drop drop drop drop drop
    local.get 4
    i64.add)
  (func $indirect (param i32 i32) (result i32)
    (i32.add (local.get 0)
      (call_indirect (type $binary) (local.get 0) (local.get 1) (local.get 1))))
  (func $many-arguments (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (call $many-arguments
      (local.get 9) (local.get 8) (local.get 7) (local.get 6) (local.get 5)
      (local.get 4) (local.get 3) (local.get 2) (local.get 1)
      (i32.lt_u (local.get 0) (local.get 1))))
)

;; The legacy exception instructions: try, catch, catch_all, rethrow, delegate.
(module
  (tag $e (param i32))
  (tag $pair (param i32 i64))
  (tag $none)
  (func $throw (param i32) (throw $e (local.get 0)))
  (func $throw-in-try (param i32) (result i32)
    try (result i32)
      (call $throw (local.get 0))
      (i32.const -1)
    catch $e
    catch_all
      (i32.const -2)
    end)
  (func (export "catch") (param i32) (result i32)
    try (result i32)
      (if (local.get 0) (then (throw $e (local.get 0))))
      (i32.const 7)
    catch $e
    end)
  (func (export "catch-in-caller") (param i32) (result i32) (call $throw-in-try (local.get 0)))
  (func (export "catch-all") (param i32) (result i32)
    try (result i32)
      (block $b (br_table 0 $b 0 (local.get 0)))
      try (result i32)
        (throw $none)
      catch $e
      end
    catch_all
      (i32.const 99)
    end)
  (func (export "pair") (result i64) (local $n i64)
    try (result i64)
      (throw $pair (i32.const 3) (i64.const 4))
    catch $pair
      (local.set $n)
      (i64.add (i64.extend_i32_u) (local.get $n))
    end)
  ;; What lies below on the stack survives, what was pushed inside is gone.
  (func (export "operands") (result i32)
    (i32.const 1000)
    try (result i32)
      (i32.const 1)
      (i32.const 2)
      (i32.const 3)
      (call $throw (i32.const 30))
      (drop)
      (drop)
    catch $e
    end
    (i32.add))
  ;; Two clauses with a try inside the first.
  (func $choose (param i32) (if (i32.eqz (local.get 0)) (then (throw $e (i32.const 5)))) (if (i32.eq (local.get 0) (i32.const 1)) (then (throw $pair (i32.const 6) (i64.const 6)))) (throw $none))
  (func (export "clauses") (param i32) (result i32)
    try (result i32)
      (call $choose (local.get 0))
      (i32.const 0)
    catch $e
      try (result i32)
        (throw $none)
      catch $none
        (i32.const 50)
      end
      (i32.add)
    catch $pair
      (drop)
    catch_all
      (i32.const 77)
    end)
  (func (export "rethrow") (param i32) (result i32)
    try (result i32)
      try (result i32)
        (throw $e (i32.const 11))
      catch $e
        (drop)
        try (result i32)
          (throw $e (i32.const 22))
        catch $e
          (drop)
          (if (local.get 0) (then (rethrow 1)) (else (rethrow 2)))
          (i32.const 0)
        end
      end
    catch $e
    end)
  (func (export "rethrow-from-catch-all") (result i32)
    try (result i32)
      try (result i32)
        (throw $e (i32.const 8))
      catch_all
        (rethrow 0)
      end
    catch $e
    end)
  (func (export "rethrow-uncaught")
    try
      (throw $e (i32.const 1))
    catch_all
      (rethrow 0)
    end)
  ;; An exception that passes a handler by its delegation.
  (func (export "delegate") (result i32)
    try $outer (result i32)
      try $between (result i32)
        try (result i32)
          (throw $e (i32.const 3))
        delegate $outer
      catch $e
        (drop)
        (i32.const 444)
      end
    catch $e
    end)
  (func (export "delegate-next") (result i32)
    try $outer (result i32)
      try $between (result i32)
        try (result i32)
          (throw $e (i32.const 3))
        delegate $between
      catch $e
        (drop)
        (i32.const 444)
      end
    catch $e
    end)
  (func $delegate-out (result i32)
    try (result i32)
      try (result i32)
        (throw $e (i32.const 9))
      delegate 1
    catch_all
      (i32.const -1)
    end)
  (func (export "delegate-to-caller") (result i32)
    try (result i32)
      (call $delegate-out)
    catch $e
    end)
  ;; An exception in a clause is not the construct's own.
  (func (export "throw-in-clause") (result i32)
    try (result i32)
      try (result i32)
        (throw $none)
      catch_all
        (throw $e (i32.const 12))
      end
    catch $e
    end)
  (func (export "empty") (result i32)
    try
    end
    (i32.const 1))
  (func (export "branch-out") (result i32)
    block $b (result i32)
      try
        (br $b (i32.const 5))
      catch_all
      end
      (i32.const 6)
    end)
  (func (export "again") (param i32) (result i32) (local $sum i32)
    loop $l
      (local.get $sum)
      try (result i32)
        (throw $e (local.get 0))
      catch $e
      end
      i32.add
      local.set $sum
      (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))
    end
    (local.get $sum))
  (func (export "trap-is-no-exception")
    try
      (unreachable)
    catch_all
    end))
(assert_return (invoke "catch" (i32.const 0)) (i32.const 7))
(assert_return (invoke "catch" (i32.const 5)) (i32.const 5))
(assert_return (invoke "catch-in-caller" (i32.const 21)) (i32.const 21))
(assert_return (invoke "catch-all" (i32.const 0)) (i32.const 99))
(assert_return (invoke "pair") (i64.const 7))
(assert_return (invoke "operands") (i32.const 1030))
(assert_return (invoke "clauses" (i32.const 0)) (i32.const 55))
(assert_return (invoke "clauses" (i32.const 1)) (i32.const 6))
(assert_return (invoke "clauses" (i32.const 2)) (i32.const 77))
(assert_return (invoke "rethrow" (i32.const 1)) (i32.const 22))
(assert_return (invoke "rethrow" (i32.const 0)) (i32.const 11))
(assert_return (invoke "rethrow-from-catch-all") (i32.const 8))
(assert_exception (invoke "rethrow-uncaught"))
(assert_return (invoke "delegate") (i32.const 3))
(assert_return (invoke "delegate-next") (i32.const 444))
(assert_return (invoke "delegate-to-caller") (i32.const 9))
(assert_return (invoke "throw-in-clause") (i32.const 12))
(assert_return (invoke "empty") (i32.const 1))
(assert_return (invoke "branch-out") (i32.const 5))
(assert_return (invoke "again" (i32.const 100)) (i32.const 5050))
(assert_trap (invoke "trap-is-no-exception") "unreachable")
;; Between instances, whose tag is the same.
(module $M (tag $e (export "e") (param i32)) (func (export "throw") (throw $e (i32.const 6))))
(register "M" $M)
(module
  (import "M" "e" (tag $e (param i32)))
  (tag $own (param i32))
  (import "M" "throw" (func $throw))
  (func (export "mine") (result i32)
    try (result i32)
      try (result i32)
        (call $throw)
        (i32.const 0)
      catch $own
        (drop)
        (i32.const 1)
      end
    catch $e
    end))
(assert_return (invoke "mine") (i32.const 6))

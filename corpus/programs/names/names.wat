;; Names that are awkward to show, to type or to resolve: not ASCII, with
;; spaces, quotes, control characters, empty, like an index, twice in the name
;; section, an export named otherwise than its function.
(module
  (memory (export "memory") 1)
  (table (export "a table") 1 funcref)
  (global (export "global\u{00e9}") i32 (i32.const 7))
  ;; One name for two functions: a name section may do that.
  (func $twice (@name "twice") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
  (func $other (@name "twice") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
  (func $#0 (@name "#0") (param i32) (result i32) (i32.sub (local.get 0) (i32.const 3)))
  (func (@name "") (param i32) (result i32) (i32.xor (local.get 0) (i32.const 4)))
  (func $colon (@name "main:0x10") (param i32) (result i32) (i32.or (local.get 0) (i32.const 64)))
  (func $unicode (@name "\u{1f980} \u{4f60}\u{597d}") (param $x (@name "a name\twith tab") i32) (result i32)
    (local $y (@name "") i32)
    (i32.add (local.get 0) (i32.const 100)))
  (func (export "\u{1f980} run, please") (export "run") (export "") (export "#2")
    (param $x i32) (result i32)
    (call 0 (local.get $x))
    (call $other)
    (call $#0)
    (call 3)
    (call $colon)
    (call $unicode)
    (call $shadow)
    (call $html))
  ;; Exported under the name that another function has inside.
  (func $shadow (@name "shadow") (export "twice") (param i32) (result i32)
    (i32.rotl (local.get 0) (i32.const 3)))
  (func $html (@name "<script>alert(1)</script>") (export "<b>&amp;\"'</b>")
    (param i32) (result i32)
    (i32.add (local.get 0) (i32.const 1)))
  (func (@name "\1b[31mred\1b[0m") (export "new\nline\1b[31m") (result i32) (i32.const 1))
  (func (export "_ZN4core3fmt9Formatter9write_str17h0123456789abcdefE") (result i32) (i32.const 2)))

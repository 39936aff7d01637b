;; WASI by hand: writes a greeting in two pieces with one call (a host may write
;; only the first of them, then the rest is written by a second call), asks for
;; what does not exist, and leaves with an exit code from two frames deep.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  ;; Two (address, length) pairs.
  (data (i32.const 0) "\20\00\00\00\07\00\00\00\30\00\00\00\06\00\00\00")
  (data (i32.const 32) "Hello, ")
  (data (i32.const 48) "WASI!\n")
  (func $leave (param $code i32)
    (call $proc_exit (local.get $code))
    unreachable)
  (func (export "_start")
    (local $errno i32) (local $written i32)
    (local.set $errno
      (call $fd_write (i32.const 1) (i32.const 0) (i32.const 2) (i32.const 64)))
    (local.set $written (i32.load (i32.const 64)))
    (if (i32.eq (local.get $written) (i32.const 7))
      (then
        (local.set $errno
          (i32.add (local.get $errno)
            (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 64))))
        (local.set $written
          (i32.add (local.get $written) (i32.load (i32.const 64))))))
    ;; 13 bytes were written; a descriptor that is not open gives errno 8.
    (call $leave
      (i32.add
        (i32.add (local.get $errno) (local.get $written))
        (call $fd_write (i32.const 77) (i32.const 0) (i32.const 2) (i32.const 64))))))

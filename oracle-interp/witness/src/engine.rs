//! Wasmtime's configuration: guest debugging, and every feature of Wasm 3.0.
//!
//! Features are enabled here whether or not the oracle knows them yet: what it
//! does not know it refuses by name. Code is generated without optimisation,
//! since the instrumentation pins all state anyway and generated modules are
//! compiled more often than executed.

use wasmtime::{Collector, Config, Engine, OptLevel, Result};

/// Bytes of stack for Wasm frames; instrumented frames are large.
const WASM_STACK: usize = 4 << 20;

/// An engine for any number of modules.
///
/// # Errors
/// What Wasmtime says of the configuration, on a machine that it does not
/// support.
pub fn engine() -> Result<Engine> {
    let mut config = Config::new();
    config
        .guest_debug(true)
        .cranelift_opt_level(OptLevel::None)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(WASM_STACK + (1 << 20))
        .wasm_backtrace_max_frames(None)
        .wasm_simd(true)
        .wasm_relaxed_simd(true)
        .wasm_tail_call(true)
        .wasm_exceptions(true)
        .wasm_memory64(true)
        .wasm_multi_memory(true)
        .wasm_function_references(true)
        .wasm_gc(true)
        .wasm_threads(true)
        .shared_memory(true)
        .wasm_wide_arithmetic(true)
        .wasm_custom_page_sizes(true)
        .wasm_extended_const(true)
        // Never moves and never frees: references stay what they are.
        .collector(Collector::Null);
    Engine::new(&config)
}

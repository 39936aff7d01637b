//! What decoding a module costs: `cargo run --release -p oracle-interp
//! --example decode -- FILE`.
//!
//! Memory of the decoded form in bytes per byte of code, and time against
//! wasmparser's validation alone, which decoding contains. The routes of the
//! fast loop, which are made when a module is first executed, are a part of
//! both. All are timed in turn, the fastest of some runs each.

use oracle_interp::Module;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

const RUNS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: decode FILE")?;
    let bytes = Arc::new(std::fs::read(path)?);
    let [mut decode, mut routes, mut validate] = [Duration::MAX; 3];
    let mut module = None;
    for _ in 0..RUNS {
        let start = Instant::now();
        wasmparser::Validator::new().validate_all(&bytes)?;
        validate = validate.min(start.elapsed());
        // Freeing the previous one is no part of decoding.
        drop(module.take());
        let start = Instant::now();
        let decoded = Module::decode_shared(Arc::clone(&bytes))?;
        decode = decode.min(start.elapsed());
        let start = Instant::now();
        // What is counted includes them, so that they are made.
        decoded.memory_bytes();
        routes = routes.min(start.elapsed());
        module = Some(decoded);
    }
    let module = module.ok_or("nothing was decoded")?;
    let funcs = (0..module.num_funcs()).map(wasm_view::FuncIdx::new);
    let code: u64 = funcs
        .filter_map(|func| module.body(func))
        .map(|body| u64::from(body.end.get() - body.start.get()))
        .sum();
    let memory = module.memory_bytes();
    println!("module {} bytes, code {code} bytes", bytes.len());
    println!("decoded form {memory} bytes, {:.2} per byte of code", memory as f64 / code as f64);
    let ratio = |time: Duration| time.as_secs_f64() / validate.as_secs_f64();
    println!(
        "validation alone {validate:.1?}, decode {decode:.1?}, ratio {:.2}; \
         with routes {:.1?}, ratio {:.2}",
        ratio(decode),
        decode + routes,
        ratio(decode + routes)
    );
    Ok(())
}

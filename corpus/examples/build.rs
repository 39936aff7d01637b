//! Rebuilds every module of the corpus from its source:
//! `cargo run -p corpus --example build`. With names after `--`, only those.

#[path = "../tests/builder/mod.rs"]
mod builder;

fn main() -> std::process::ExitCode {
    let only: Vec<String> = std::env::args().skip(1).collect();
    let mut failed = false;
    let programs = corpus::manifest();
    for program in builder::modules(&programs) {
        // A module may belong to several programs: any of their names will do.
        let wanted =
            |other: &corpus::Program| other.wasm == program.wasm && only.contains(&other.name);
        if !only.is_empty() && !programs.iter().any(wanted) {
            continue;
        }
        let wasm = program.wasm_path();
        match builder::build(program).and_then(|bytes| {
            std::fs::write(&wasm, &bytes).map_err(|e| format!("{}: {e}", wasm.display()))?;
            Ok(bytes.len())
        }) {
            Ok(len) => println!("{:>8} bytes  {}", len, program.wasm),
            Err(message) => {
                eprintln!("{}: {message}", program.name);
                failed = true;
            }
        }
    }
    std::process::ExitCode::from(u8::from(failed))
}

//! Writes compressible text: `cargo run -p corpus --example text -- SEED LEN`.

use std::io::Write;

fn main() -> std::process::ExitCode {
    let args: Vec<u64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let [seed, len] = args[..] else {
        eprintln!("usage: text SEED LEN > FILE");
        return 2.into();
    };
    let Ok(len) = usize::try_from(len) else {
        return 2.into();
    };
    match std::io::stdout().write_all(&corpus::text(seed, len)) {
        Ok(()) => 0.into(),
        Err(error) => {
            eprintln!("{error}");
            1.into()
        }
    }
}

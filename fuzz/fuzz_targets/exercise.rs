//! Arbitrary bytes on the oracle; see `oracle_interp::exercise`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = oracle_interp::exercise::exercise(bytes, 2_000) {
        panic!("{error}");
    }
});

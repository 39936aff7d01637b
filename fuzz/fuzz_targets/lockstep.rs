//! Modules of arbitrary bytes in lockstep; see `wdiff::fuzz::try_bytes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let failures = std::env::var_os("WDIFF_FAILURES");
    if let Err(error) = wdiff::fuzz::try_bytes(bytes, failures.as_deref().map(AsRef::as_ref)) {
        panic!("{error}");
    }
});

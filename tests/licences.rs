//! The table of the dependencies' licences is complete, and every licence is
//! one that a program under MIT or Apache-2.0 may be linked with.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;

/// A licence expression is acceptable when each of its `AND` parts offers one
/// of these.
const ACCEPTED: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unlicense",
    "Zlib",
    "Unicode-3.0",
    "CC0-1.0",
    "BSL-1.0",
    "0BSD",
];

fn accepted(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], "").replace('/', " OR ");
    plain.split(" AND ").all(|part| part.split(" OR ").any(|one| ACCEPTED.contains(&one.trim())))
}

#[test]
fn the_table_is_complete() {
    let root = env!("CARGO_MANIFEST_DIR");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root)
        .output()
        .expect("cargo metadata starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut rows = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        if package["source"].is_null() {
            continue;
        }
        let text = |key: &str| package[key].as_str().unwrap_or("none given").to_string();
        rows.insert((text("name"), text("version")), text("license"));
    }
    let mut table = String::from(
        "# Licences of the dependencies\n\n\
         wdiff itself is under MIT or Apache-2.0, at your choice. It is built from or tested with\n\
         the crates below. `WDIFF_BLESS=1 cargo test --release --test licences` writes this table.\n\n\
         | crate | version | licence |\n|---|---|---|\n",
    );
    for ((name, version), licence) in &rows {
        assert!(accepted(licence), "{name} {version} is under {licence}");
        let _ = writeln!(table, "| {name} | {version} | {licence} |");
    }
    let path = format!("{root}/docs/licences.md");
    if std::env::var_os("WDIFF_BLESS").is_some() {
        std::fs::write(&path, &table).expect("docs/licences.md is writable");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == table, "docs/licences.md is out of date: run with WDIFF_BLESS=1");
}

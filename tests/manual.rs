//! Man pages and completions are those of the command line, and `explain` knows
//! what reports say.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

fn files(directory: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for sub in ["man1", "completions"] {
        for entry in std::fs::read_dir(directory.join(sub)).expect("a directory").flatten() {
            let name = format!("{sub}/{}", entry.file_name().display());
            let text = std::fs::read_to_string(entry.path()).expect("a text");
            all.insert(name, text);
        }
    }
    all
}

/// `WDIFF_BLESS=1` writes them anew.
#[test]
fn man_pages_and_completions_are_current() {
    let scratch = common::scratch();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/manual");
    let bless = std::env::var_os("WDIFF_BLESS").is_some_and(|value| value == "1");
    let directory = if bless { kept.as_path() } else { scratch.path() };
    let ran = common::wdiff().arg("manual").arg(directory).output().expect("wdiff starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let (made, kept) = (files(directory), files(&kept));
    let names: Vec<&String> = made.keys().collect();
    assert_eq!(names, kept.keys().collect::<Vec<_>>());
    for (name, text) in &made {
        assert!(kept[name] == *text, "docs/manual/{name} is out of date: WDIFF_BLESS=1");
    }
    for name in
        ["man1/wdiff.1", "man1/wdiff-gate.1", "completions/wdiff.bash", "completions/_wdiff"]
    {
        assert!(made.contains_key(name), "{names:?}");
    }
    assert!(made["man1/wdiff-gate.1"].contains("update\\-baseline"));
}

#[test]
fn explain_knows_kinds_reasons_and_rules() {
    for (code, says) in [
        ("operand", "operand stack"),
        ("folded", "merged"),
        ("anchor-is-trap", "0xcc"),
        ("code_size", "bound"),
        ("nan_payload", "NaN"),
        ("unsupported", "named"),
    ] {
        let ran = common::wdiff().args(["explain", code]).output().expect("wdiff starts");
        let text = String::from_utf8_lossy(&ran.stdout);
        assert_eq!(ran.status.code(), Some(0), "{code}");
        assert!(text.contains(says) && text.starts_with(code), "{code}: {text}");
    }
    let ran = common::wdiff().arg("explain").output().expect("wdiff starts");
    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(text.lines().count() > 80, "{text}");
}

//! The page that states the checker's rules, kept equal to the checker.
//! `WDIFF_BLESS=1` writes it anew.

use dwarf_map::check::Rule;
use std::fmt::Write as _;

const HEAD: &str = "\
# The rules of `wdiff map --check`

What must be true of an image before anybody runs it. The checker reads map, code, call frame information, DWARF and module back from the image, and asks nothing of the compiler that made
them. Every rule has a test that damages a good image and expects that rule by name.

| rule | statement |
|---|---|
";

#[test]
fn the_page_is_up_to_date() {
    let mut page = HEAD.to_owned();
    for rule in Rule::ALL {
        writeln!(page, "| `{rule}` | {} |", rule.statement()).expect("into a string");
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/map-rules.md");
    if std::env::var_os("WDIFF_BLESS").is_some() {
        std::fs::write(path, &page).expect("docs/ is there");
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == page, "docs/map-rules.md is out of date: run this with WDIFF_BLESS=1");
}

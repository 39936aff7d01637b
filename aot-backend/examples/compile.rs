//! Compiles modules and prints what became of them: size, time, and how many
//! slots have a location. `compile [none|speed] [baseline|native] FILE.wasm...`

use aot_backend::{CompileOptions, Image, OptLevel, compile};
use dwarf_map::{Anchor, Location};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut options = CompileOptions { program: "program".into(), ..CompileOptions::default() };
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "none" => options.opt = OptLevel::None,
            "speed" => options.opt = OptLevel::Speed,
            "debug" => options.debug_info = true,
            cpu if !cpu.ends_with(".wasm") => options.cpu = cpu.parse()?,
            path => {
                let wasm = std::fs::read(path)?;
                let start = Instant::now();
                let image = compile(&wasm, &options)?;
                println!("{path}: {:?}", start.elapsed());
                print(&image);
            }
        }
    }
    Ok(())
}

fn print(image: &Image) {
    let boundaries = || image.map.functions.iter().flat_map(|function| &function.boundaries);
    let count = |wanted: fn(&Location) -> bool| {
        boundaries().flat_map(|boundary| &boundary.locations).filter(|&l| wanted(l)).count()
    };
    let anchored = boundaries().filter(|b| matches!(b.anchor, Anchor::Trap(_))).count();
    let located = count(|l| matches!(l, Location::Register(_) | Location::CfaOffset(_)));
    let constant = count(|l| matches!(l, Location::Constant(_)));
    let unavailable = count(|l| matches!(l, Location::Unavailable(_)));
    println!(
        "  elf {} text {} functions {} boundaries {} anchored {anchored}",
        image.elf.len(),
        image.text.len(),
        image.map.functions.len(),
        boundaries().count(),
    );
    println!("  slots: located {located} constant {constant} unavailable {unavailable}");
}

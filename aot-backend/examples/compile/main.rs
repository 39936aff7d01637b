//! Compiles modules and prints what became of them: size, time, and how many
//! slots have a location.
//! `compile [none|speed] [entry|loops|calls|labels] [baseline|native|+F] FILE...`

#[path = "../../tests/support/machine_flow.rs"]
mod machine_flow;
#[path = "../../tests/support/problems.rs"]
mod problems;
#[path = "../../tests/support/wasm_flow.rs"]
mod wasm_flow;

use aot_backend::{CompileOptions, Image, OptLevel, StablePoints, compile};
use dwarf_map::{Anchor, Location};
use std::collections::BTreeMap;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut options = CompileOptions { program: "program".into(), ..CompileOptions::default() };
    let mut figures = true;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "none" => options.opt = OptLevel::None,
            "speed" => options.opt = OptLevel::Speed,
            "debug" => options.debug_info = true,
            "quiet" => figures = false,
            "entry" | "loops" | "calls" | "labels" => {
                options.stable = StablePoints::from_name(&argument).unwrap_or_default();
            }
            cpu if !cpu.contains(".wa") => options.cpu = cpu.parse()?,
            path => {
                let wasm = wat::parse_bytes(&std::fs::read(path)?)?.into_owned();
                let start = Instant::now();
                let image = compile(&wasm, &options)?;
                println!("{path}: {:?}", start.elapsed());
                if figures {
                    for problem in problems::of(&image) {
                        println!("  PROBLEM: {problem}");
                    }
                    print(&image);
                }
            }
        }
    }
    Ok(())
}

#[derive(Default)]
struct Count {
    located: usize,
    derived: usize,
    constant: usize,
    unavailable: usize,
}

impl Count {
    fn add(&mut self, location: Location) {
        match location {
            Location::Register(_) | Location::CfaOffset(_) => self.located += 1,
            Location::Derived(_) => self.derived += 1,
            Location::Constant(_) => self.constant += 1,
            Location::Unavailable(_) => self.unavailable += 1,
        }
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = (self.located + self.derived + self.constant + self.unavailable).max(1);
        let percent = |part: usize| 100.0 * part as f64 / all as f64;
        write!(
            f,
            "located {:.2} % derived {:.2} % constant {:.2} % unavailable {:.3} % of {all}",
            percent(self.located),
            percent(self.derived),
            percent(self.constant),
            percent(self.unavailable)
        )
    }
}

fn print(image: &Image) {
    let (mut all, mut live, mut suspended) = (Count::default(), Count::default(), Count::default());
    let (mut boundaries, mut anchored) = (0, 0);
    let mut lost: BTreeMap<String, usize> = BTreeMap::new();
    let liveness = wasm_flow::liveness(&image.wasm);
    for function in &image.map.functions {
        for boundary in &function.boundaries {
            boundaries += 1;
            let Anchor::Trap(_) = boundary.anchor else {
                continue;
            };
            anchored += 1;
            let needed = liveness.get(&boundary.offset.get());
            for (slot, &location) in boundary.locations.iter().enumerate() {
                all.add(location);
                if needed.is_some_and(|needed| needed.get(slot) == Some(&true)) {
                    live.add(location);
                    if let Location::Unavailable(reason) = location {
                        let text = image.listing.text_at(boundary.offset).unwrap_or("?");
                        let text = text.split(' ').next().unwrap_or_default();
                        let what = if slot < function.locals.len() { "local" } else { "operand" };
                        *lost.entry(format!("{what} {reason:?} at {text}")).or_default() += 1;
                    }
                }
            }
        }
        for site in &function.call_sites {
            // What is live after the call, of what was there during it.
            let next = function.boundaries.iter().find(|boundary| boundary.offset > site.offset);
            let needed = next.and_then(|next| liveness.get(&next.offset.get()));
            for (slot, &location) in site.locations.iter().enumerate() {
                if needed.is_some_and(|needed| needed.get(slot) == Some(&true)) {
                    suspended.add(location);
                }
            }
        }
    }
    println!(
        "  elf {} text {} functions {} boundaries {boundaries} anchored {anchored}",
        image.elf.len(),
        image.text.len(),
        image.map.functions.len(),
    );
    println!("  all:  {all}\n  live: {live}\n  live while suspended: {suspended}");
    let mut lost: Vec<_> = lost.into_iter().collect();
    lost.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (what, count) in lost.into_iter().take(12) {
        println!("    {count:6} {what}");
    }
}

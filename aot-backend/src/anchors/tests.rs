//! Code as it ships, over the corpus: that it is what Cranelift makes by itself
//! (asserted where each function is compiled), that the static checker finds
//! nothing wrong with its map, and how many boundaries have an anchor.

use crate::{Anchors, CompileOptions, CpuSpec, Image, OptLevel, compile};
use dwarf_map::unwind::Unwinder;
use dwarf_map::{Anchor, check};
use std::path::{Path, PathBuf};

fn programs() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus/programs");
    let directories = std::fs::read_dir(root).expect("the corpus");
    let mut programs: Vec<PathBuf> = directories
        .flat_map(|each| std::fs::read_dir(each.expect("readable").path()).into_iter().flatten())
        .map(|each| each.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|end| end == "wasm" || end == "wat"))
        .collect();
    programs.sort();
    programs
}

fn image(wasm: &[u8], opt: OptLevel, cpu: CpuSpec) -> Option<Image> {
    let options =
        CompileOptions { opt, cpu, anchors: Anchors::Srcloc, ..CompileOptions::default() };
    match compile(wasm, &options) {
        Ok(image) => Some(image),
        Err(crate::CompileError::Unsupported { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_corpus_is_compiled_as_it_ships() {
    let programs = programs();
    assert!(programs.len() > 40);
    let mut counts = [[0_u64; 4]; 2];
    let (mut functions, mut entries) = (0, 0);
    for (number, path) in programs.iter().enumerate() {
        let wasm = wat::parse_file(path).expect("a module");
        for (level, opt) in [OptLevel::None, OptLevel::Speed].into_iter().enumerate() {
            // All features of one machine, none, turn by turn.
            for cpu in [[CpuSpec::Baseline, CpuSpec::Native][number % 2].clone()] {
                let Some(image) = image(&wasm, opt, cpu) else { continue };
                let unwinder =
                    Unwinder::new(&image.frames, image.text_address, image.text.len() as u32)
                        .expect("frame information");
                let wrong = check::check(&image.map, &image.text, &unwinder);
                assert!(wrong.is_empty(), "{}: {wrong:#?}", path.display());
                for boundary in image.map.functions.iter().flat_map(|f| &f.boundaries) {
                    let kind = match boundary.anchor {
                        Anchor::Trap(_) => panic!("a trap in {}", path.display()),
                        Anchor::Instruction(_) => 0,
                        Anchor::Merged => 1,
                        Anchor::Threaded => 2,
                        Anchor::Eliminated => 3,
                    };
                    counts[level][kind] += 1;
                }
                let entered = image.map.functions.iter().filter(|function| {
                    matches!(function.boundaries[0].anchor, Anchor::Instruction(_))
                });
                let entered = entered.count();
                functions += image.map.functions.len();
                entries += entered;
            }
        }
    }
    for (level, [anchored, merged, threaded, eliminated]) in ["none", "speed"].iter().zip(counts) {
        let all = anchored + merged + threaded + eliminated;
        println!(
            "{level}: {all} boundaries, anchored {:.1} %, merged {merged}, threaded {threaded}, eliminated {eliminated}",
            100.0 * anchored as f64 / all as f64
        );
        assert!(anchored * 100 >= all * 20);
    }
    println!("{entries} of {functions} functions have an anchor at their entry");
    assert!(entries * 100 >= functions * 99);
}

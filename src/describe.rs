//! From a finding to a report's divergence: what people need to see.

use crate::disasm;
use crate::lockstep::Finding;
use crate::program::Program;
use crate::source::Source;
use aot_backend::Image;
use reports::{Divergence, Frame, ListingLine, NativePc, Passed, StateDiff, Witness};
use wasm_view::{Boundary, FuncIdx};

/// Lines of listing shown before and after the instruction.
const LISTING_AROUND: usize = 4;
/// Most frames of a call stack that are shown.
const FRAMES: usize = 64;

/// Makes the report's form of a finding.
pub fn divergence(
    finding: &Finding,
    program: &Program,
    image: &Image,
    witness: Option<Witness>,
    rerun: Vec<String>,
) -> Divergence {
    let source = Source::of(program);
    let listing = &image.listing;
    let line = |at: &Boundary| source.as_ref().and_then(|source| source.line(at.offset));
    let name = |func: FuncIdx| program.module.func_name(func).map(ToString::to_string);
    let instruction = |at: &Boundary| listing.text_at(at.offset).map(ToString::to_string);
    let mut divergence = Divergence::new(finding.kind);
    divergence.summary = finding.what.clone();
    if finding.is_placed() {
        divergence = divergence.at(finding.at, finding.index);
        divergence.name = name(finding.at.func);
        divergence.instruction = instruction(&finding.at);
        divergence.source_line = line(&finding.at);
    } else {
        divergence.instance = Some(finding.at.instance.get());
    }
    divergence.after = finding.after.map(|after| reports::Executed {
        func: after.func.get(),
        offset: after.offset.get(),
        instruction: instruction(&after),
        source_line: line(&after),
    });
    divergence.slots = finding.slots.clone();
    for slot in &mut divergence.slots {
        if let reports::SlotName::Local { frame: 0, index } = slot.slot {
            let local = wasm_view::LocalIdx::new(index);
            slot.name = program.module.local_name(finding.at.func, local).map(ToString::to_string);
        }
    }
    if let Some(pc) = finding.native_pc {
        divergence.native_pc = Some(NativePc::new(pc.get()));
        divergence.native_disassembly = disasm::around(image, pc)
            .into_iter()
            .map(|line| Divergence::native_line(line.address.get(), &line.text))
            .collect();
    }
    divergence.frames = finding
        .frames
        .iter()
        .take(FRAMES)
        .map(|frame| Frame {
            instance: frame.instance.get(),
            func: frame.func.get(),
            name: name(frame.func),
            offset: frame.offset.get(),
            source_line: line(frame),
        })
        .collect();
    // Instructions of this function only: its neighbours are no neighbours.
    let body = program.module.body(finding.at.func).filter(|_| finding.is_placed());
    let inside = body.map_or_else(Vec::new, |body| listing.lines().range(body).collect());
    let here = inside.partition_point(|(offset, _)| **offset < finding.at.offset);
    divergence.listing = inside
        .iter()
        .skip(here.saturating_sub(LISTING_AROUND))
        .take(here.min(LISTING_AROUND) + LISTING_AROUND + 1)
        .filter_map(|(offset, _)| {
            let text = listing.text_at(**offset)?.to_string();
            Some(ListingLine { offset: offset.get(), text })
        })
        .collect();
    if finding.expected_state != finding.actual_state {
        divergence.state_diff = Some(StateDiff {
            expected: finding.expected_state.clone(),
            actual: finding.actual_state.clone(),
        });
    }
    divergence.timeline = finding
        .recent
        .iter()
        .map(|at| Passed {
            instance: at.instance.get(),
            func: at.func.get(),
            offset: at.offset.get(),
            // The listing is that of one module.
            instruction: (at.instance == finding.at.instance).then(|| instruction(at)).flatten(),
        })
        .collect();
    divergence.witness = witness;
    divergence.rerun = Some(rerun);
    divergence
}

//! Several images as one, for instances that call each other.
//!
//! A subject executes one image and can map no more code once it is sealed.
//! Instances that are linked therefore share one: the texts of their images lie
//! one behind the other, and the maps and the call frame information are moved
//! along with them. That is all there is to it, as text is independent of where
//! it lies: its references are displacements within itself, and what it needs
//! of other instances it finds in its instance data.

use crate::error::CompileError;
use crate::image::{FRAME_SECTION, Image};
use dwarf_map::unwind::endian;
use dwarf_map::{
    Anchor, BoundaryMap, CallSite, CodeOffset, Detour, EntryMap, FunctionMap, Handler, ImageMap,
    InstanceLayout, StablePoint, ThunkMap, TrapSite,
};
use gimli::RunTimeEndian;
use gimli::write::{Address, DebugFrame, EndianVec, FrameTable};
use std::ops::Range;

/// Alignment of each image's text: that of a cache line.
const ALIGNMENT: usize = 64;

/// What became of one of the images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Positions of its functions in the common map.
    pub functions: Range<usize>,
    /// Positions of its thunks.
    pub thunks: Range<usize>,
    /// Positions of its entries.
    pub entries: Range<usize>,
    /// Its code in the common text.
    pub text: Range<CodeOffset>,
    /// Layout of the instance data that its code expects.
    pub layout: InstanceLayout,
    /// Its code that instantiates its module, see [`Image::instantiate`].
    pub instantiate: Option<Range<CodeOffset>>,
}

impl Part {
    /// The part that a whole image is of itself.
    pub fn whole(image: &Image) -> Part {
        Part {
            functions: 0..image.map.functions.len(),
            thunks: 0..image.map.thunks.len(),
            entries: 0..image.map.entries.len(),
            text: CodeOffset::new(0)..CodeOffset::new(image.text.len() as u32),
            layout: image.map.layout,
            instantiate: image.instantiate.clone(),
        }
    }
}

/// Puts images into one, with a part for each in their order; one that is given
/// twice is there twice. Function indices in the common map are those of each
/// part's own module; the common image has no module, listing or symbols.
///
/// # Errors
/// Images without readable call frame information; too much code.
pub fn combine(images: &[&Image]) -> Result<(Image, Vec<Part>), CompileError> {
    let mut text: Vec<u8> = Vec::new();
    let isa = images.first().map(|image| image.map.isa()).unwrap_or_default();
    let mut frames = DebugFrame::from(EndianVec::new(endian(isa)));
    let mut map = ImageMap {
        functions: Vec::new(),
        thunks: Vec::new(),
        entries: Vec::new(),
        layout: InstanceLayout::default(),
        producer: images.first().map(|image| image.map.producer.clone()).unwrap_or_default(),
    };
    let mut parts = Vec::with_capacity(images.len());
    for image in images {
        if image.map.isa() != isa {
            return Err(CompileError::bug("images of different instruction sets in one"));
        }
        let aligned = text.len().next_multiple_of(ALIGNMENT);
        text.extend(isa.filler(aligned - text.len()));
        let start = text.len();
        text.extend_from_slice(&image.text);
        let too_large = |_| CompileError::too_large("over 4 GiB of machine code");
        let by = u32::try_from(start).map_err(too_large)?;
        let end = u32::try_from(text.len()).map_err(too_large)?;
        let ImageMap { functions, thunks, entries, layout, producer: _ } = &image.map;
        parts.push(Part {
            functions: map.functions.len()..map.functions.len() + functions.len(),
            thunks: map.thunks.len()..map.thunks.len() + thunks.len(),
            entries: map.entries.len()..map.entries.len() + entries.len(),
            text: CodeOffset::new(by)..CodeOffset::new(end),
            layout: *layout,
            instantiate: image.instantiate.as_ref().map(|code| moved_range(code, by)),
        });
        map.functions.extend(functions.iter().map(|function| move_function(function, by)));
        map.thunks.extend(thunks.iter().map(|thunk| move_thunk(thunk, by)));
        map.entries.extend(entries.iter().map(|entry| move_entry(entry, by)));
        move_frames(image, by, &mut frames)?;
    }
    let sections = [(FRAME_SECTION, frames.0.into_vec())];
    let image = Image::build(map, text, Vec::new(), None, &sections, false, &[])?;
    Ok((image, parts))
}

/// Writes an image's call frame information behind that of others.
fn move_frames(
    image: &Image,
    by: u32,
    into: &mut DebugFrame<EndianVec<RunTimeEndian>>,
) -> Result<(), CompileError> {
    let mut section = gimli::DebugFrame::new(&image.frames, endian(image.map.isa()));
    section.set_address_size(8);
    let moved = |address: u64| Some(Address::Constant(address.wrapping_add(u64::from(by))));
    let table = FrameTable::from(&section, &moved).map_err(CompileError::bug)?;
    table.write_debug_frame(into).map_err(CompileError::bug)
}

fn moved(offset: CodeOffset, by: u32) -> CodeOffset {
    CodeOffset::new(offset.get() + by)
}

fn moved_range(range: &Range<CodeOffset>, by: u32) -> Range<CodeOffset> {
    moved(range.start, by)..moved(range.end, by)
}

// Every field is named, so that a new place in the code cannot be forgotten.

fn move_function(function: &FunctionMap, by: u32) -> FunctionMap {
    let FunctionMap {
        func,
        ty,
        params,
        name,
        code,
        body,
        locals,
        local_names,
        frame_size,
        stack_arguments,
        argument_area,
        expressions,
        boundaries,
        call_sites,
        traps,
        stable_points,
    } = function;
    FunctionMap {
        func: *func,
        ty: *ty,
        params: *params,
        name: name.clone(),
        code: moved_range(code, by),
        body: body.clone(),
        locals: locals.clone(),
        local_names: local_names.clone(),
        frame_size: *frame_size,
        stack_arguments: *stack_arguments,
        argument_area: *argument_area,
        expressions: expressions.clone(),
        boundaries: boundaries.iter().map(|boundary| move_boundary(boundary, by)).collect(),
        call_sites: call_sites.iter().map(|site| move_call(site, by)).collect(),
        traps: traps.iter().map(|site| move_trap(site, by)).collect(),
        stable_points: stable_points.iter().map(|point| move_stable(point, by)).collect(),
    }
}

fn move_boundary(boundary: &BoundaryMap, by: u32) -> BoundaryMap {
    let BoundaryMap { offset, anchor, stable, operands, locations } = boundary;
    BoundaryMap {
        offset: *offset,
        anchor: match *anchor {
            Anchor::Trap(pc) => Anchor::Trap(moved(pc, by)),
            Anchor::Instruction(pc) => Anchor::Instruction(moved(pc, by)),
            other @ (Anchor::Merged | Anchor::Threaded | Anchor::Eliminated) => other,
        },
        stable: *stable,
        operands: operands.clone(),
        locations: locations.clone(),
    }
}

fn move_call(site: &CallSite, by: u32) -> CallSite {
    let CallSite { return_address, offset, locations, handlers } = site;
    let handler = |handler: &Handler| Handler { tag: handler.tag, pc: moved(handler.pc, by) };
    CallSite {
        return_address: moved(*return_address, by),
        offset: *offset,
        locations: locations.clone(),
        handlers: handlers.iter().map(handler).collect(),
    }
}

fn move_trap(site: &TrapSite, by: u32) -> TrapSite {
    let TrapSite { pc, offset, trap } = *site;
    TrapSite { pc: moved(pc, by), offset, trap }
}

fn move_stable(point: &StablePoint, by: u32) -> StablePoint {
    let StablePoint { offset, poll, armed, detour, cold, trap, restore, stores, slots } = point;
    StablePoint {
        offset: *offset,
        poll: moved(*poll, by),
        armed: armed.clone(),
        detour: Detour {
            idle: detour.idle,
            ways: detour.ways.iter().map(|way| moved(*way, by)).collect(),
        },
        cold: moved(*cold, by),
        trap: moved(*trap, by),
        restore: *restore,
        stores: *stores,
        slots: slots.clone(),
    }
}

fn move_thunk(thunk: &ThunkMap, by: u32) -> ThunkMap {
    let ThunkMap { kind, ty, code, trap } = thunk;
    ThunkMap { kind: *kind, ty: ty.clone(), code: moved_range(code, by), trap: moved(*trap, by) }
}

fn move_entry(entry: &EntryMap, by: u32) -> EntryMap {
    let EntryMap { ty, code, finish } = entry;
    EntryMap { ty: ty.clone(), code: moved_range(code, by), finish: moved(*finish, by) }
}

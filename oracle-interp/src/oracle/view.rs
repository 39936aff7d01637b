//! Looking at the stack.

use super::{FrameRecord, Oracle, State};
use crate::module::{Module, OpIdx};
use crate::op::Op;
use std::sync::Arc;
use wasm_view::{Boundary, Cell, Frame, HeapType, RefType, ValType, Value};

/// The innermost frame, as it stands at a boundary.
pub type Top<'a> = FrameView<'a>;

/// A frame, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct FrameView<'a> {
    /// Where it stands. For a frame that waits for a callee this is the call
    /// instruction, arguments already popped, results not yet pushed.
    pub boundary: Boundary,
    /// The locals, parameters first.
    pub locals: &'a [Cell],
    /// The operand stack, bottom first.
    pub operands: &'a [Cell],
    /// Locals and operands together, by slot.
    pub slots: &'a [Cell],
    /// The module of the boundary's instance.
    pub module: &'a Arc<Module>,
    position: OpIdx,
}

impl FrameView<'_> {
    /// Types of the locals.
    pub fn local_types(&self) -> &[ValType] {
        self.module.function(self.boundary.func).map_or(&[], |function| function.locals())
    }

    /// Types of the operands that are on the stack.
    pub fn operand_types(&self) -> Vec<ValType> {
        // While a callee runs the arguments are gone.
        let mut types = self.module.operand_types_at(self.position);
        let mut cells = 0;
        let count = types.iter().take_while(|ty| {
            cells += ty.cells();
            cells <= self.operands.len()
        });
        let count = count.count();
        types.truncate(count);
        types
    }

    /// The cells that validation gives the operand stack here, arguments of a
    /// call included.
    pub fn static_cells(&self) -> usize {
        self.module.operand_cells_at(self.position) as usize
    }

    /// A copy that stands for itself.
    pub fn to_frame(&self) -> Frame {
        // Null says by itself of no defined type which hierarchy it is of.
        let hierarchy = |ty: &ValType| match *ty {
            ValType::Ref(RefType { heap: HeapType::Concrete(index), .. }) => {
                let is_func = self.module.func_type_of(index).is_some();
                let heap = if is_func { HeapType::Func } else { HeapType::Any };
                ValType::Ref(RefType::nullable(heap))
            }
            ty => ty,
        };
        let typed = |types: &[ValType], cells: &[Cell]| {
            let general: Vec<ValType> = types.iter().map(hierarchy).collect();
            types.iter().copied().zip(Value::list_from_cells(&general, cells)).collect()
        };
        Frame {
            boundary: self.boundary,
            locals: typed(self.local_types(), self.locals),
            operands: typed(&self.operand_types(), self.operands),
        }
    }
}

impl Oracle {
    /// The innermost frame: at the boundary that the last event speaks of, or
    /// at the call instruction while a host call is pending. `None` when no
    /// call is in progress.
    #[inline]
    pub fn top(&self) -> Option<Top<'_>> {
        self.frames.last().map(|frame| self.view_frame(frame, self.pc, self.sp))
    }

    /// How many frames there are.
    pub fn depth(&self) -> usize {
        self.frames.len()
    }

    /// A frame; 0 is the outermost.
    pub fn frame(&self, index: usize) -> Option<FrameView<'_>> {
        let frame = self.frames.get(index)?;
        Some(match self.frames.get(index + 1) {
            Some(callee) => self.view_frame(frame, frame.pc, callee.base),
            None => self.view_frame(frame, self.pc, self.sp),
        })
    }

    /// Copies of all frames, outermost first.
    pub fn frames(&self) -> Vec<Frame> {
        (0..self.depth())
            .filter_map(|index| self.frame(index))
            .map(|frame| frame.to_frame())
            .collect()
    }

    /// Whether the instruction at the present boundary is a call, which is
    /// where a stack can be exhausted.
    pub fn is_at_call(&self) -> bool {
        self.top().is_some_and(|top| {
            matches!(
                top.module.code.ops[top.position.index()],
                Op::Call(_) | Op::CallImport(_) | Op::CallIndirect { .. }
            )
        })
    }

    /// Whether a call is in progress, so that there is something to execute or
    /// a host call to finish.
    pub fn is_active(&self) -> bool {
        matches!(self.state, State::Running | State::HostCall(_))
    }

    #[inline]
    fn view_frame(&self, frame: &FrameRecord, position: OpIdx, end: usize) -> FrameView<'_> {
        let module = &self.store.instances[frame.instance.index()].module;
        let slots = &self.stack[frame.base..end];
        let (locals, operands) = slots.split_at(frame.locals as usize);
        FrameView {
            boundary: Boundary {
                instance: frame.instance,
                func: frame.func,
                offset: module.offset_at(position),
            },
            locals,
            operands,
            slots,
            module,
            position,
        }
    }
}

//! The static type of the operand stack at every instruction.
//!
//! Operand stacks of neighbouring instructions differ in their top few
//! entries only, and the same few stacks occur again and again. So they are
//! kept as one tree: a *shape* is a node, its parent is the stack without the
//! topmost operand. Equal stacks are the same node, an instruction stores one
//! 32-bit index, and run-time values need no tags.

use std::collections::HashMap;
use wasm_view::ValType;

/// A static operand stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape(u32);

impl Shape {
    /// The empty stack.
    pub(crate) const EMPTY: Shape = Shape(0);
}

#[derive(Clone, Copy, Debug)]
struct Node {
    parent: u32,
    height: u32,
    cells: u32,
    top: ValType,
}

/// All shapes of a module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shapes {
    nodes: Vec<Node>,
}

/// Builds [`Shapes`], with the links to children that find existing nodes.
#[derive(Debug)]
pub(crate) struct ShapeBuilder {
    shapes: Shapes,
    /// Per node, its children by the type of their topmost operand, 0 for none.
    children: Vec<[u32; 5]>,
    /// Children whose topmost operand is a reference.
    references: HashMap<(u32, ValType), u32>,
}

/// Position among a node's children.
const fn number_code(ty: ValType) -> Option<usize> {
    match ty {
        ValType::I32 => Some(0),
        ValType::I64 => Some(1),
        ValType::F32 => Some(2),
        ValType::F64 => Some(3),
        ValType::V128 => Some(4),
        ValType::Ref(_) => None,
    }
}

impl ShapeBuilder {
    /// Only the empty stack.
    pub(crate) fn new() -> Self {
        // The root's type is never read: its height is 0.
        let root = Node { parent: 0, height: 0, cells: 0, top: ValType::I32 };
        let shapes = Shapes { nodes: vec![root] };
        Self { shapes, children: vec![[0; 5]], references: HashMap::new() }
    }

    /// `shape` with one more operand; `None` when there are 2^32 shapes.
    pub(crate) fn push(&mut self, shape: Shape, top: ValType) -> Option<Shape> {
        let slot = match number_code(top) {
            Some(code) => &mut self.children[shape.0 as usize][code],
            None => self.references.entry((shape.0, top)).or_insert(0),
        };
        if *slot == 0 {
            let new = u32::try_from(self.shapes.nodes.len()).ok()?;
            *slot = new;
            let Node { height, cells, .. } = self.shapes.nodes[shape.0 as usize];
            let cells = cells + top.cells() as u32;
            self.shapes.nodes.push(Node { parent: shape.0, height: height + 1, cells, top });
            self.children.push([0; 5]);
            return Some(Shape(new));
        }
        Some(Shape(*slot))
    }

    /// Type of the topmost operand, if there is one.
    pub(crate) fn top(&self, shape: Shape) -> Option<ValType> {
        let node = &self.shapes.nodes[shape.0 as usize];
        (node.height > 0).then_some(node.top)
    }

    /// `shape` with these operands on top, the last of them topmost.
    pub(crate) fn push_all(&mut self, shape: Shape, types: &[ValType]) -> Option<Shape> {
        types.iter().try_fold(shape, |shape, &ty| self.push(shape, ty))
    }

    /// `shape` without its `count` topmost operands (or all, if it has fewer).
    pub(crate) fn pop(&self, shape: Shape, count: u32) -> Shape {
        let mut shape = shape;
        for _ in 0..count {
            shape = Shape(self.shapes.nodes[shape.0 as usize].parent);
        }
        shape
    }

    /// See [`Shapes::cells`].
    pub(crate) fn cells(&self, shape: Shape) -> u32 {
        self.shapes.cells(shape)
    }

    /// The finished shapes.
    pub(crate) fn finish(mut self) -> Shapes {
        self.shapes.nodes.shrink_to_fit();
        self.shapes
    }
}

impl Shapes {
    /// Bytes allocated.
    pub(crate) fn memory_bytes(&self) -> usize {
        crate::module::allocated(&self.nodes)
    }

    /// Cells of all operands.
    pub(crate) fn cells(&self, shape: Shape) -> u32 {
        self.nodes[shape.0 as usize].cells
    }

    /// The operands' types, bottom first.
    pub(crate) fn types(&self, shape: Shape) -> Vec<ValType> {
        let mut node = &self.nodes[shape.0 as usize];
        let mut types = Vec::with_capacity(node.height as usize);
        while node.height > 0 {
            types.push(node.top);
            node = &self.nodes[node.parent as usize];
        }
        types.reverse();
        types
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_stacks_are_one_shape() {
        let mut builder = ShapeBuilder::new();
        let types = [ValType::V128, ValType::FUNCREF, ValType::F64];
        let a = builder.push_all(Shape::EMPTY, &types).unwrap();
        let b = builder.push_all(Shape::EMPTY, &types).unwrap();
        assert_eq!(a, b);
        assert_eq!(builder.pop(a, 3), Shape::EMPTY);
        assert_eq!(builder.pop(Shape::EMPTY, 1), Shape::EMPTY);
        let shapes = builder.finish();
        assert_eq!(shapes.types(a), types);
        assert_eq!(shapes.cells(a), 4);
    }
}

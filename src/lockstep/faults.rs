//! Faults of the subject, and which of them are traps of Wasm.
//!
//! Compiled code leaves checks to the processor: an access beyond a memory is
//! a SIGBUS, a division by zero a SIGFPE, `unreachable` a SIGILL. Such a fault
//! stands for a trap only where the map says so and it comes about as that trap
//! does; anything else is code that runs wild.

use super::follow::{Ending, Lockstep, Next};
use super::stops::Selection;
use crate::error::CommandError;
use dwarf_map::SubjectAddr;
use oracle_interp::Event;
use reports::{DivergenceKind, InconclusiveReason};
use tracer::FaultSignal;
use wasm_view::{Boundary, Trap};

/// Bytes that a thunk or a prologue may need below the caller's frame.
const FRAME_SLACK: u64 = 4096;

impl Lockstep<'_> {
    /// A fault is a Wasm trap only if its PC is in the trap table, the signal
    /// fits and, for memory, the address lies in a memory's reservation.
    pub(super) fn fault(
        &mut self,
        event: Event,
        signal: FaultSignal,
        pc: SubjectAddr,
        address: Option<SubjectAddr>,
    ) -> Result<Next, CommandError> {
        // An emulator does not say what was accessed. What a prologue cannot reach
        // lies just below the stack pointer, or where it already points.
        let emulated = self.subject.is_emulated();
        let site = self.plan.code_offset(pc).and_then(|offset| self.plan.trap(offset));
        let address = match address {
            None if emulated && site.is_none() && signal == FaultSignal::Segv => {
                Some(SubjectAddr::new(self.subject.regs().rsp()).offset(-1))
            }
            address => address,
        };
        if let Some(address) = address
            && self.space().in_stack_guard(address)
            && matches!(signal, FaultSignal::Segv | FaultSignal::Bus)
        {
            return self.stack_exhausted(event, address);
        }
        let at = address.map(|a| format!(" accessing {a}")).unwrap_or_default();
        let Some((function, trap, offset)) = site else {
            return self.diverged(
                DivergenceKind::Sandbox,
                format!(
                    "the subject faulted ({signal:?}) at {pc}{at}, which is no trap of the map"
                ),
                Vec::new(),
            );
        };
        let instance = self.plan.owner(function);
        let space = &self.spaces[instance.index()];
        let fits = match trap {
            Trap::MemoryOutOfBounds => match signal {
                // Counted: the place is the map's, the address nobody's.
                FaultSignal::Bus | FaultSignal::Segv if emulated => {
                    self.stats.adopt("fault_address_unseen");
                    true
                }
                FaultSignal::Bus | FaultSignal::Segv => {
                    address.is_some_and(|address| space.memory_at(address).is_some())
                }
                FaultSignal::Ill => true,
                FaultSignal::Fpe | FaultSignal::Trap => false,
            },
            Trap::IntegerDivideByZero | Trap::IntegerOverflow => {
                matches!(signal, FaultSignal::Fpe | FaultSignal::Ill)
            }
            _ => signal == FaultSignal::Ill,
        };
        if !fits {
            return self.diverged(
                DivergenceKind::Sandbox,
                format!("the subject faulted ({signal:?}) at {pc}{at}; the map has a trap there, {trap}, but it does not come about so"),
                Vec::new(),
            );
        }
        let func = self.image.map.functions[function as usize].func;
        // Code without traps may find out before it comes to the anchor.
        let early = matches!((&event, &self.selection), (Event::Boundary, Selection::Shipped(_)))
            && self
                .oracle
                .top()
                .is_some_and(|top| top.boundary == Boundary { instance, func, offset });
        let event = if early { self.oracle.step() } else { event };
        match event {
            Event::Trapped(expected) if expected == trap => {
                let here = Boundary { instance, func, offset };
                let same = self.oracle.top().is_none_or(|top| top.boundary == here);
                if same {
                    self.trapped(trap)
                } else {
                    self.diverged(
                        DivergenceKind::Trap,
                        format!(
                            "both trapped ({trap}), the subject at {offset} of function {func}"
                        ),
                        Vec::new(),
                    )
                }
            }
            event => self.unexpected(
                event,
                format!("the subject trapped at {offset} of function {func}: {trap}"),
            ),
        }
    }

    /// Both trapped alike: memories must still agree.
    pub(super) fn trapped(&mut self, trap: Trap) -> Result<Next, CommandError> {
        let at = match self.oracle.top().map(|top| top.boundary).or(self.last) {
            Some(at) => at,
            None => return Err(CommandError::bug("a trap at no instruction")),
        };
        self.finished(Ending::Trapped(trap, Some(at)))
    }

    /// The native stack ran out. That is the program's doing, and adopted, only
    /// if the frames that the oracle has fill the stack by the map's sizes.
    pub(super) fn stack_exhausted(
        &mut self,
        event: Event,
        address: SubjectAddr,
    ) -> Result<Next, CommandError> {
        let replaces = self.oracle.depth() == self.frames.len()
            && self.last.is_some_and(|last| self.is_tail_call(last));
        let called = match &event {
            Event::Trapped(Trap::CallStackExhausted) => true,
            Event::Boundary => replaces || self.oracle.depth() == self.frames.len() + 1,
            Event::HostCall(_) => true,
            _ => false,
        };
        let lowest = self.frames.last().map(|frame| {
            let size = self.image.map.functions[frame.function as usize].frame_size;
            match self
                .oracle
                .top()
                .and_then(|top| self.plan.position(top.boundary.instance, top.boundary.func))
            {
                Some(function) if replaces => self.frame_below(frame.end, function).get(),
                _ => frame.cfa.get().saturating_sub(u64::from(size)),
            }
        });
        let entered = match &event {
            Event::Boundary => {
                let top = self.oracle.top().map(|top| top.boundary);
                top.and_then(|top| self.plan.position(top.instance, top.func))
            }
            _ => None,
        };
        let callee =
            entered.map_or(0, |function| self.image.map.functions[function as usize].frame_size);
        let room = u64::from(callee) + FRAME_SLACK;
        let accounted =
            lowest.is_some_and(|lowest| address.get() < lowest && lowest - address.get() <= room);
        if self.sparse() && (!called || !accounted) {
            return Ok(Next::End(Ending::Inconclusive {
                reason: InconclusiveReason::Limit,
                detail: "the subject's stack ran out between two stops; only --break-every-insn can tell whether rightly".into(),
            }));
        }
        if !called || !accounted {
            return self.diverged(
                DivergenceKind::Sandbox,
                format!("the subject's stack ran out at {address}; the oracle's {} frames do not account for it", self.oracle.depth()),
                Vec::new(),
            );
        }
        self.stats.adopt("stack_exhaustion");
        self.oracle.trap_now(Trap::CallStackExhausted);
        self.trapped(Trap::CallStackExhausted)
    }
}

//! Going on: by one instruction, or up to a stop.
//!
//! The fast loop executes nearly everything. Here is the loop around it, which
//! has what that leaves done elsewhere, counts what was executed, and turns the
//! reason for stopping into an [`Event`].

use super::interpret::Exit;
use super::{Event, Observer, Oracle, State};
use crate::routes::Route;
use crate::stops::StopSet;
use wasm_view::{FuncAddr, Trap, ValType};

impl Oracle {
    /// What to answer when asked to go on while not running.
    pub(super) fn standing_event(&self) -> Event {
        match &self.state {
            State::Running => Event::Boundary,
            State::HostCall(call) => Event::HostCall(call.clone()),
            State::Finished(results) => Event::Finished(results.clone()),
            State::Trapped(trap) => Event::Trapped(*trap),
            State::Thrown(exn) => Event::Thrown(*exn),
        }
    }

    /// Executes exactly the instruction at the present boundary. When a host
    /// call is pending, or there is nothing to execute, says so again.
    pub fn step(&mut self) -> Event {
        self.step_observed(&mut ())
    }

    fn step_observed(&mut self, observer: &mut impl Observer) -> Event {
        self.choice = None;
        self.grown = None;
        let State::Running = self.state else {
            return self.standing_event();
        };
        let freedom = self.freedom();
        // Nearly every instruction stays in the fast loop.
        let mut left = 1;
        let exit = self.interpret(None, &mut left, observer);
        if exit != Exit::Fuel {
            return match self.leave_loop(exit, None, 1, left, observer) {
                Event::OutOfFuel => Event::Boundary,
                event => event,
            };
        }
        self.executed += 1;
        if let Some(freedom) = freedom {
            self.record_choice(freedom);
        }
        Event::Boundary
    }

    /// Executes at least one instruction, and at most `fuel`; stops at the
    /// next boundary of `stops`. Freedoms used on the way are not reported.
    pub fn run(&mut self, stops: &StopSet, fuel: u64) -> Event {
        self.run_observed(&mut (), stops, fuel)
    }

    /// As [`Oracle::run`], telling `observer` what is executed.
    pub fn run_observed(
        &mut self,
        observer: &mut impl Observer,
        stops: &StopSet,
        fuel: u64,
    ) -> Event {
        if fuel == 0 && matches!(self.state, State::Running) {
            return Event::OutOfFuel;
        }
        if stops.is_all() {
            return self.step_observed(observer);
        }
        // The first one is executed even at a stop.
        let mut event = self.go(None, 1, observer);
        if event == Event::OutOfFuel && fuel > 1 {
            event = self.go(Some(stops), fuel - 1, observer);
        }
        if event == Event::OutOfFuel && self.is_at(stops) {
            event = Event::Boundary;
        }
        self.choice = None;
        self.grown = None;
        event
    }

    /// Whether the present boundary is one of `stops`.
    pub fn is_at(&self, stops: &StopSet) -> bool {
        if stops.is_all() {
            return !self.frames.is_empty();
        }
        self.frames.last().is_some_and(|frame| {
            let module = &self.instance(frame.instance).module;
            stops
                .slots_for(module)
                .get(self.pc.index())
                .is_some_and(|slot| slot.route == Route::STOP)
        })
    }

    pub(super) fn go(
        &mut self,
        stops: Option<&StopSet>,
        fuel: u64,
        observer: &mut impl Observer,
    ) -> Event {
        let State::Running = self.state else {
            return self.standing_event();
        };
        let mut left = fuel;
        let exit = self.interpret(stops, &mut left, observer);
        self.leave_loop(exit, stops, fuel, left, observer)
    }

    /// The loop around the fast loop, entered when that has returned: executes
    /// what it leaves to others. `left` of `fuel` is left.
    pub(super) fn leave_loop(
        &mut self,
        exit: Exit,
        stops: Option<&StopSet>,
        fuel: u64,
        mut left: u64,
        observer: &mut impl Observer,
    ) -> Event {
        let mut exit = exit;
        let event = loop {
            match exit {
                Exit::Fuel => break Event::OutOfFuel,
                Exit::Stop => break Event::Boundary,
                Exit::OtherInstance => {}
                Exit::Slow => match self.slow_observed(observer) {
                    Ok(None) => left -= 1,
                    Ok(Some(event)) => {
                        // At a limit nothing was executed.
                        if !matches!(event, Event::LimitReached(_)) {
                            left -= 1;
                        }
                        break event;
                    }
                    Err(trap) => {
                        left -= 1;
                        observer.trap(trap);
                        break self.trap_now(trap);
                    }
                },
                Exit::Finished => break self.finish(),
                Exit::Broken => panic!("decoded code is not as validation left it"),
                Exit::Trap(trap) => {
                    observer.trap(trap);
                    break self.trap_now(trap);
                }
            }
            exit = self.interpret(stops, &mut left, observer);
        };
        self.executed += fuel - left;
        event
    }

    /// Executes what the fast loop does not, and tells of it.
    fn slow_observed(&mut self, observer: &mut impl Observer) -> Result<Option<Event>, Trap> {
        self.entered = false;
        self.store.writes.take_last();
        let event = self.slow_instruction()?;
        if let Some((memory, address, length)) = self.store.writes.take_last() {
            observer.memory_write(memory, address, length);
        }
        match (&event, self.frames.last()) {
            (Some(Event::HostCall(call)), _) => {
                observer.call(FuncAddr { instance: call.instance, func: call.func });
            }
            (_, Some(frame)) if self.entered => {
                observer.call(FuncAddr { instance: frame.instance, func: frame.func });
            }
            _ => {}
        }
        Ok(event)
    }

    /// Returns from the outermost frame: its results are the topmost operands.
    pub(super) fn finish(&mut self) -> Event {
        let types = self.frames.pop().map_or_else(Vec::new, |frame| {
            let addr = FuncAddr { instance: frame.instance, func: frame.func };
            self.func_type(addr).map_or(Vec::new(), |ty| ty.results.clone())
        });
        let results = self.take_out(&types, self.sp - ValType::cells_of(&types));
        self.sp = 0;
        self.state = State::Finished(results.clone());
        Event::Finished(results)
    }

    /// Stops execution with a trap at the present boundary, or instead of a
    /// pending host call's results: for a trap that another execution met and
    /// that is to be adopted, such as stack exhaustion at a call.
    pub fn trap_now(&mut self, trap: Trap) -> Event {
        self.state = State::Trapped(trap);
        Event::Trapped(trap)
    }
}

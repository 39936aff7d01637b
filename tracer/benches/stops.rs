//! What a stop costs: with the general registers, with the vector registers
//! too, with eight bytes of the subject's stack, and by single steps.

#[path = "../tests/support/mod.rs"]
mod support;

use criterion::{Criterion, Throughput};
use dwarf_map::SubjectAddr;
use std::hint::black_box;
use support::{Bare, DATA, MEMORY, MEMORY_LENGTH, Program};

/// A subject inside the loop that has a trap on each turn.
fn looping() -> Bare {
    let mut subject = Bare::spawn();
    let mut regs = *subject.regs();
    regs.set_dwarf(2, u64::MAX);
    subject.set_regs(&regs);
    subject.run(Program::Loop, DATA, 0);
    subject
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("stops");
    group.throughput(Throughput::Elements(1));

    let mut subject = looping();
    group.bench_function("registers", |bench| bench.iter(|| black_box(subject.resume().unwrap())));
    group.bench_function("registers and a stack slot", |bench| {
        bench.iter(|| {
            black_box(subject.resume().unwrap());
            black_box(subject.read_u64(SubjectAddr::new(DATA + 0x800)))
        });
    });
    group.bench_function("registers and vectors", |bench| {
        bench.iter(|| {
            black_box(subject.resume().unwrap());
            black_box(subject.vectors().unwrap().dwarf(17))
        });
    });
    group.bench_function("registers, changed", |bench| {
        bench.iter(|| {
            black_box(subject.resume().unwrap());
            let mut regs = *subject.regs();
            regs.set_dwarf(0, regs.dwarf(0).unwrap_or(0) ^ 1);
            subject.set_regs(&regs);
        });
    });
    group.bench_function("single steps", |bench| bench.iter(|| black_box(subject.step().unwrap())));
    group.finish();

    let mut group = criterion.benchmark_group("memory");
    let subject = Bare::spawn();
    group.bench_function("read_u64 at an address", |bench| {
        bench.iter(|| black_box(subject.read_u64(SubjectAddr::new(black_box(MEMORY + 8)))));
    });
    let expected = vec![0; MEMORY_LENGTH as usize];
    group.throughput(Throughput::Bytes(MEMORY_LENGTH));
    group.bench_function("compare", |bench| {
        bench.iter(|| black_box(subject.region(subject.memory).compare(0, black_box(&expected))));
    });
    group.finish();

    criterion.bench_function("spawn", |bench| bench.iter(Bare::spawn));
}

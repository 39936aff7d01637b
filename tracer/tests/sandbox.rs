//! What a subject has, and how making one fails.

mod support;

use dwarf_map::SubjectAddr;
use std::fs;
use support::*;
use tracer::{RegionSpec, Stop, Subject, SubjectConfig, TracerError};

#[test]
fn it_has_its_code_its_regions_and_nothing_else() {
    let subject = Bare::spawn();
    let proc = |file: &str| format!("/proc/{}/{file}", subject.pid());
    assert_eq!(fs::read_dir(proc("fd")).unwrap().count(), 0);
    assert_eq!(fs::read(proc("environ")).unwrap(), b"");
    assert_eq!(fs::read_to_string(proc("comm")).unwrap(), "wdiff-subject\n");

    let status = fs::read_to_string(proc("status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').trim().to_string()
    };
    assert_eq!(field("Seccomp"), "2");
    assert_eq!(field("NoNewPrivs"), "1");
    assert_eq!(field("SigBlk"), "0000000000000000");
    assert_eq!(field("Threads"), "1");
    assert_eq!(field("NSsid"), subject.pid().to_string());
    assert_eq!(field("Cpus_allowed_list"), subject.cpu().to_string());
    let limits = fs::read_to_string(proc("limits")).unwrap();
    let core: Vec<&str> =
        limits.lines().find(|l| l.starts_with("Max core")).unwrap().split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"]);

    let maps = fs::read_to_string(proc("maps")).unwrap();
    let maps: Vec<(&str, &str)> = maps
        .lines()
        .filter(|line| !line.ends_with("[vsyscall]"))
        .map(|line| line.split_once(' ').map(|(range, rest)| (range, &rest[..4])).unwrap())
        .collect();
    let expected = [
        ("00400000-00402000", "r-xp"),
        ("10000000-10002000", "rw-s"),
        ("200000000-302000000", "rw-s"),
    ];
    assert_eq!(maps, expected);
}

#[test]
fn the_gadget_page_is_left_as_it_was() {
    let subject = Bare::spawn();
    let mut page = vec![0; 4096];
    use std::os::unix::fs::FileExt;
    let memory = fs::File::open(format!("/proc/{}/mem", subject.pid())).unwrap();
    memory.read_exact_at(&mut page, LOAD).unwrap();
    assert_eq!(page, image()[0x1000..0x2000]);
}

#[test]
fn the_thread_is_free_to_move_again() {
    let allowed = || {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        status.lines().find(|line| line.starts_with("Cpus_allowed_list")).unwrap().to_string()
    };
    let before = allowed();
    let (first, second) = (Bare::spawn(), Bare::spawn());
    let pinned = allowed();
    assert_eq!(pinned, format!("Cpus_allowed_list:\t{}", first.cpu()));
    drop(first);
    assert_eq!(allowed(), pinned);
    drop(second);
    assert_eq!(allowed(), before);
}

/// The error of a spawn that cannot work.
fn refused(config: SubjectConfig<'_>) -> (TracerError, String) {
    let error = Subject::spawn(config).map(|subject| subject.pid()).unwrap_err();
    let text = error.to_string();
    (error, text)
}

#[test]
fn images_that_are_none() {
    let good = image();
    let (error, text) = refused(SubjectConfig { image: &[], ..config(&good) });
    assert!(matches!(error, TracerError::Image(_)), "{text}");
    let config = || config(&good);
    for bad in [
        SubjectConfig { start: SubjectAddr::new(LOAD + 1), ..config() },
        SubjectConfig { start: SubjectAddr::new(0), ..config() },
        SubjectConfig { start: SubjectAddr::new(u64::MAX), ..config() },
        SubjectConfig { syscall_gadget: SubjectAddr::new(LOAD), ..config() },
        SubjectConfig { syscall_gadget: SubjectAddr::new(TEXT + TEXT_SIZE), ..config() },
        SubjectConfig { text: SubjectAddr::new(u64::MAX), ..config() },
        SubjectConfig { text_size: u64::MAX, ..config() },
        SubjectConfig { text_size: TEXT_SIZE + 1, ..config() },
        SubjectConfig { text_file_offset: u64::MAX, ..config() },
        SubjectConfig { text_file_offset: 0x800, ..config() },
    ] {
        let (error, text) = refused(bad);
        assert!(matches!(error, TracerError::Image(_)), "{text}");
    }
}

#[test]
fn images_that_the_kernel_refuses() {
    // Not an ELF file.
    let mut image = image();
    image[0] = b'?';
    let (error, text) = refused(config(&image));
    assert!(matches!(error, TracerError::Start { .. }), "{text}");
    assert_eq!(
        text,
        "starting the subject: execveat of the image: ENOEXEC: Exec format error (the image is no ELF executable for \
         this machine)"
    );
    // For another machine.
    let mut image = support::image();
    image[18] = 183;
    let (error, text) = refused(config(&image));
    assert!(matches!(error, TracerError::Start { .. }), "{text}");
    // Loaded where no process has memory.
    let mut image = support::image();
    image[80..88].copy_from_slice(&u64::MAX.to_le_bytes());
    let (error, text) = refused(config(&image));
    assert!(
        matches!(error, TracerError::Start { .. } | TracerError::UnexpectedStop { .. }),
        "{text}"
    );
    // Entered in the wrong place.
    let mut image = support::image();
    image[24..32].copy_from_slice(&Program::Undefined.at(0).get().to_le_bytes());
    let (error, text) = refused(config(&image));
    assert!(matches!(error, TracerError::UnexpectedStop { .. }), "{text}");
    // Its code is writable.
    let mut image = support::image();
    image[68] = 7;
    let (error, text) = refused(config(&image));
    assert!(matches!(error, TracerError::NotTight(_)), "{text}");
}

#[test]
fn regions_that_cannot_be() {
    let image = image();
    let with = |address: u64, reserve: u64, length: u64| {
        let region = RegionSpec {
            name: "odd\0 one".into(),
            address: SubjectAddr::new(address),
            reserve,
            length,
        };
        SubjectConfig { regions: vec![region], ..config(&image) }
    };
    for bad in [
        with(DATA + 1, 4096, 0),
        with(DATA, 0, 0),
        with(DATA, 4096, 4097),
        with(DATA, u64::MAX, 0),
        with(0, 4096, 4096),
        with(0x7fff_ffff_f000, 4096, 0),
        with(0xffff_ffff_ffff_f000, 4096, 0),
    ] {
        let (error, text) = refused(bad);
        assert!(matches!(error, TracerError::Region { .. }), "{text}");
    }
    let (error, text) = refused(with(LOAD, 4096, 4096));
    assert!(matches!(error, TracerError::Setup { .. }), "{text}");
    let mut twice = config(&image);
    twice.regions[1].address = SubjectAddr::new(DATA + 0x1000);
    let (error, text) = refused(twice);
    assert!(matches!(error, TracerError::Setup { .. }), "{text}");
    // Where the kernel would have put the stack, there is room.
    let mut subject = Subject::spawn(with(0x7fff_ffff_d000, 4096, 1)).unwrap();
    assert_eq!(
        subject.find_region(SubjectAddr::new(0x7fff_ffff_d000), 1).map(|(_, offset)| offset),
        Some(0)
    );
    subject.kill();
}

#[test]
fn no_regions_at_all() {
    let image = image();
    let mut subject = Subject::spawn(SubjectConfig { regions: vec![], ..config(&image) }).unwrap();
    let mut regs = *subject.regs();
    regs.set_rip(Program::Load.at(3).get());
    subject.set_regs(&regs);
    assert_eq!(subject.resume().unwrap(), Stop::Trap { pc: Program::Load.at(3) });
}

#[test]
fn a_cpu_that_is_not_there() {
    let image = image();
    for cpu in [1023, usize::MAX] {
        let (error, text) = refused(SubjectConfig { cpu: Some(cpu), ..config(&image) });
        assert!(matches!(error, TracerError::Cpu { .. }), "{text}");
    }
}

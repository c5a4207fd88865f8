//! Names that nobody of the ledger's gave: almost right, not UTF-8, with numbers beyond all bounds, and very many. What is
//! no segment's name is passed over, reported by `verify` and left alone; what is one is believed in nothing.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use taskledger::{Error, Event, Ledger, Level, Seq, Verdict};

use super::program::{Program, READERS, says};
use super::site::{Site, home, options};
use crate::format::bytes::set_in_page;
use crate::format::mutated::in_child;

const SEGMENT: &str = "0000000001-00000000000000000001.log";

fn site() -> Site {
    Site::new(|ledger| drop(ledger.append("t", Event::created()).unwrap()))
}

/// How many findings `verify` has of this code; all else is sound.
fn found(dir: &Path, code: &str) -> usize {
    let report = taskledger::verify(dir, Level::Content).expect("it can be verified");
    assert_eq!(report.verdict(), Verdict::Sound);
    report.findings.iter().filter(|finding| finding.code == code).count()
}

#[test]
fn names_that_are_no_segments_are_passed_over_and_left_alone() {
    let long = "9".repeat(255);
    let strays: [&[u8]; 18] = [
        b"\xff\xfe.log",
        b"0000000001-0000000000000000000\xff.log",
        b"0000000002-00000000000000000002.log\xff",
        b"0000000001-00000000000000000001.LOG",
        b"0000000001-00000000000000000001.log ",
        b" 0000000002-00000000000000000002.log",
        b"0000000002-00000000000000000002.log\n",
        b"0000000002-00000000000000000002\n.log",
        b"0000000002_00000000000000000002.log",
        b"2-2.log",
        b"00000000002-00000000000000000002.log",
        b"+000000002-00000000000000000002.log",
        b"-000000002-00000000000000000002.log",
        b"0000000002-18446744073709551616.log",
        b"0000000002-99999999999999999999.log",
        "\u{ff10}000000002-00000000000000000002.log".as_bytes(),
        b"\x1b[2J\x1b]0;owned\x07.log",
        long.as_bytes(),
    ];
    let site = site();
    let log = site.dir.join("log");
    let segment = fs::read(log.join(SEGMENT)).unwrap();
    for (n, stray) in strays.iter().enumerate() {
        let path = log.join(OsStr::from_bytes(stray));
        if n % 3 == 0 { fs::create_dir(&path).unwrap() } else { fs::write(&path, &segment).unwrap() }
    }
    // A link under such a name leads nowhere that anybody goes.
    std::os::unix::fs::symlink("/dev/zero", log.join("0000000002-00000000000000000002.link")).unwrap();
    let count = strays.len() + 1;
    assert_eq!(found(&site.dir, "STRAY"), count);
    assert_eq!(Ledger::open_read_only(&site.dir).unwrap().view().seq(), Seq(1));
    for reader in READERS {
        let ran = Program::default().run(&[reader, &["-D", site.arg()]].concat(), "");
        assert_eq!(ran.code, 0, "{ran:?}");
        let raw = |text: &str| text.chars().any(|c| c.is_control() && c != '\n');
        assert!(!raw(&ran.out) && !raw(&ran.err), "{reader:?} writes a name to the terminal as it is: {ran:?}");
    }
    let ledger = site.open();
    assert_eq!(ledger.append("u", Event::created()).unwrap().seq(), Seq(2));
    ledger.close().unwrap();
    assert_eq!(found(&site.dir, "STRAY"), count, "a writer leaves them alone");
    let kept = strays.iter().enumerate().filter(|(n, _)| n % 3 != 0);
    kept.for_each(|(_, stray)| assert!(fs::read(log.join(OsStr::from_bytes(stray))).unwrap() == segment));
}

#[test]
fn numbers_beyond_all_bounds_are_damage_of_that_file() {
    let names = [
        "0000000000-00000000000000000000.log",
        "0000000000-00000000000000000001.log",
        "0000000002-00000000000000000000.log",
        "0000000002-18446744073709551615.log",
        "4294967296-00000000000000000002.log",
        "9999999999-00000000000000000000.log",
        "9999999999-18446744073709551615.log",
    ];
    for name in names {
        for stated in [false, true] {
            let site = site();
            let path = site.dir.join("log").join(name);
            let mut bytes = fs::read(site.dir.join("log").join(SEGMENT)).unwrap();
            if stated {
                // A header that says the same as the name, and follows a predecessor of which that is true.
                let (number, base): (u64, u64) = (name[..10].parse().unwrap(), name[11..31].parse().unwrap());
                set_in_page(&mut bytes, 72, &number.to_le_bytes());
                set_in_page(&mut bytes, 80, &base.to_le_bytes());
                set_in_page(&mut bytes, 112, &number.wrapping_sub(1).to_le_bytes());
                set_in_page(&mut bytes, 120, &4096_u64.to_le_bytes());
                set_in_page(&mut bytes, 128, &base.wrapping_sub(1).to_le_bytes());
            }
            fs::write(&path, &bytes).unwrap();
            let case = format!("{name}, stated: {stated}");
            // The first segment may be the one that does not fit to it.
            let is_named =
                |error: &Error| matches!(error, Error::Damaged { path, .. } if path.starts_with(site.dir.join("log")));
            let error = Ledger::open_read_only(&site.dir).expect_err(&case);
            assert!(is_named(&error), "{case}: {error:?}");
            let error = options().open(&site.dir).expect_err(&case);
            assert!(is_named(&error), "{case}: {error:?}");
            let report = taskledger::verify(&site.dir, Level::Content).expect(&case);
            assert_eq!(report.verdict(), Verdict::Damaged, "{case}");
            let told = Program::default().refused(&["log", "-D", site.arg()], "", 5, "DAMAGED");
            says(told["path"].as_str().unwrap(), &[site.dir.join("log").to_str().unwrap()]);
        }
    }
}

const CROWD: usize = 100_000;
const UNFINISHED: usize = 2_000;

/// In bounded memory.
#[test]
fn a_crowd_of_strays_is_passed_over() {
    if !in_child("refusals::names::a_crowd_of_strays_is_passed_over") {
        return;
    }
    let home = home();
    let dir = home.path().join("ledger");
    let ledger = options().open(&dir).unwrap();
    ledger.append("t", Event::created()).unwrap();
    ledger.close().unwrap();
    let log = dir.join("log");
    let first = log.join("stray-0");
    fs::write(&first, "a stray").unwrap();
    // Links take less time than files.
    (1..CROWD).for_each(|n| fs::hard_link(&first, log.join(format!("stray-{n}"))).unwrap());
    (0..UNFINISHED).for_each(|n| fs::write(log.join(format!("{n}.tmp")), "").unwrap());
    assert_eq!((found(&dir, "STRAY"), found(&dir, "UNFINISHED")), (CROWD, UNFINISHED));
    assert_eq!(Ledger::open_read_only(&dir).unwrap().view().seq(), Seq(1));
    let ledger = options().open(&dir).unwrap();
    assert_eq!(ledger.append("u", Event::created()).unwrap().seq(), Seq(2));
    ledger.close().unwrap();
    assert_eq!((found(&dir, "STRAY"), found(&dir, "UNFINISHED")), (CROWD, 0), "the writer removes what is unfinished");
}

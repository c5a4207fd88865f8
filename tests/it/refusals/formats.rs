//! A newer format: every version and feature that this one does not know, in `LEDGER` and in a segment's header, under
//! good checksums.

use std::fs;
use std::path::Path;

use taskledger::{Error, Event, Ledger, Level, Verdict};

use super::files::Files;
use super::program::{Program, READERS, says};
use super::site::{Site, options, untouched};

/// Who is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    Nobody,
    Writers,
    Everybody,
}

/// Two segments, and a task t.
fn site() -> Site {
    Site::new(|ledger| {
        ledger.append("t", Event::created()).unwrap();
        for _ in 0..3 {
            ledger.append("t", Event::updated().error("x".repeat(8000))).unwrap();
        }
    })
}

/// Writes a number into the first page of a file, and the checksum that goes with it.
fn put(path: &Path, offset: usize, number: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset..offset + number.len()].copy_from_slice(number);
    let checksum = crc32fast::hash(&bytes[12..4096]);
    bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
    fs::write(path, bytes).unwrap();
}

fn assert_format(error: &Error, path: &Path, what: &str) {
    let Error::Format { path: named, what: found } = error else { panic!("{error:?}") };
    assert_eq!((named.as_path(), found.as_str(), error.code()), (path, what, "FORMAT"));
    assert_eq!(error.to_string(), format!("{} cannot be used by this version: {what}", path.display()));
}

#[test]
fn what_a_newer_version_wrote_is_refused_unless_it_says_that_it_may_be_used() {
    let (major, minor) = (12, 14);
    let (incompatible, read_only, compatible) = (16, 20, 24);
    let table: [(usize, &[u8], Whom, &str); 10] = [
        (major, &[2, 0], Whom::Everybody, "its format is 2.0, and this version knows 1"),
        (major, &[0, 0], Whom::Everybody, "its format is 0.0, and this version knows 1"),
        (major, &[0, 1], Whom::Everybody, "its format is 256.0, and this version knows 1"),
        (minor, &[7, 0], Whom::Nobody, ""),
        (incompatible, &[1, 0, 0, 0], Whom::Everybody, "it needs the unknown features 0x1"),
        (incompatible, &[0, 0, 0, 0x80], Whom::Everybody, "it needs the unknown features 0x80000000"),
        (read_only, &[1, 0, 0, 0], Whom::Writers, "writing it needs the unknown features 0x1; reading works"),
        (read_only, &[0, 0, 0, 0x80], Whom::Writers, "writing it needs the unknown features 0x80000000; reading works"),
        (compatible, &[1, 0, 0, 0], Whom::Nobody, ""),
        (compatible, &[255, 255, 255, 255], Whom::Nobody, ""),
    ];
    let names = ["LEDGER", "log/0000000002-00000000000000000003.log", "log/0000000003-00000000000000000004.log"];
    for (offset, number, whom, what) in table {
        for name in names {
            let site = site();
            let path = site.dir.join(name);
            assert!(path.is_file(), "{:?}", Files::all(&site.dir).names());
            put(&path, offset, number);
            let before = Files::log(&site.dir);
            let case = format!("{number:?} at byte {offset} of {name}");

            if whom == Whom::Everybody {
                assert_format(&untouched(&site.dir, || Ledger::open_read_only(&site.dir)), &path, what);
                assert_format(&untouched(&site.dir, || taskledger::verify(&site.dir, Level::Content)), &path, what);
            } else {
                let reader = Ledger::open_read_only(&site.dir).expect(&case);
                assert_eq!(reader.view().seq().0, 4, "{case}");
                let report = taskledger::verify(&site.dir, Level::Content).expect(&case);
                assert_eq!(report.verdict(), Verdict::Sound, "{case}: {:?}", report.findings);
            }
            for reader in READERS {
                let args = [reader, &["-D", site.arg()]].concat();
                if whom == Whom::Everybody {
                    assert_told(&args, &path, what);
                } else {
                    Program::default().run(&args, "").good();
                }
            }
            if whom == Whom::Nobody {
                site.goes_on();
            } else {
                let error = options().open(&site.dir).expect_err(&case);
                assert_format(&error, &path, what);
                assert_told(&["import", "-D", site.arg()], &path, what);
                before.assert_same(&Files::log(&site.dir), &case);
            }
        }
    }
}

fn assert_told(args: &[&str], path: &Path, what: &str) {
    let told = Program::default().refused(args, "{\"task\":\"t\",\"event\":\"removed\",\"version\":5}\n", 12, "FORMAT");
    assert_eq!(told["path"], path.to_str().unwrap());
    says(told["message"].as_str().unwrap(), &["cannot be used by this version: ", what]);
    says(told["hint"].as_str().unwrap(), &["use the version of taskledger that wrote it, or a newer one"]);
}

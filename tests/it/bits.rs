//! Rot: every bit flipped, every file cut, missing, exchanged or longer. Everything acknowledged reads back equal, or is
//! refused with coordinates; never a panic, never fewer entries in silence, never different content.
//!
//! Four small ledgers, each as a kill leaves it (same boot, `live` there) and as a power cut leaves it (another boot,
//! what was not synced lost, and `live` with it). Flipped is every bit of what is used (LEDGER, `live`, frames and the
//! 64 bytes behind them, seal slots, the fields of segment headers); of the zeros elsewhere one bit in 509, and with
//! `TASKLEDGER_CRASH_SCALE` more. Cuts likewise: every length up to 64 bytes behind the frames, then every 509th.
//! `TASKLEDGER_GOLDEN=one,beside` takes only ledgers with such names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use taskledger::TaskState;
use taskledger::vfs::fault::MemVfs;

use crate::crash::beside::placed_beside_a_flight;
use crate::crash::journal::{Fact, create, go, note};
use crate::crash::script::{DIR, Script};
use crate::rot::judge::{Depth, Truth};
use crate::support::wanted;

/// Of what is not used, one bit or length in so many.
fn stride() -> usize {
    let scale = std::env::var("TASKLEDGER_CRASH_SCALE").ok().and_then(|text| text.parse::<usize>().ok());
    (509 / scale.unwrap_or(1).max(1)).max(1)
}

/// A ledger before the damage.
struct Golden {
    name: String,
    vfs: MemVfs,
    truth: Truth,
    /// Entries above this one have no evidence but their own bytes; 0 to demand all.
    floor: usize,
}

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// All entries are there.
    Whole,
    /// Refused as damaged, or as of an unknown format.
    Refused,
    /// The last flush, which nothing vouches for, is taken for torn.
    Ambiguous,
}

/// Most wrong outcomes that are told at once.
const WRONG_MAX: usize = 8;

#[derive(Debug, Default)]
struct Tally {
    classes: BTreeMap<Class, u64>,
    wrong: Vec<String>,
}

/// A batch that claims much room and takes little: the same text many times over is stored once.
fn wide(task: &str) -> Vec<Fact> {
    let text = "the same text over and over ".repeat(9);
    let mut facts = vec![create(task)];
    facts.extend((0..30).map(|_| note(task, &text)));
    facts
}

/// Three segments with few bytes each.
fn fill(s: &mut Script) {
    s.open();
    s.append(create("a"));
    s.batch(&[create("b"), go("a", TaskState::Ready)]);
    s.batch(&wide("c"));
    s.batch(&wide("d"));
    s.append(go("a", TaskState::Running));
    s.batch(&wide("e"));
    s.append(go("b", TaskState::Ready));
    s.append(go("a", TaskState::Completed));
}

fn few(s: &mut Script) {
    s.open();
    s.append(create("a"));
    s.batch(&[create("b"), go("a", TaskState::Ready)]);
    s.append(go("b", TaskState::Ready));
}

type Make = fn(&mut Script);

fn goldens() -> Vec<Golden> {
    let mut goldens = Vec::new();
    let kinds: [(&str, Make, bool); 4] = [
        ("closed", fill, true),
        ("unclosed", fill, false),
        ("one segment, unclosed", few, false),
        ("placed beside a flight", placed_beside_a_flight, false),
    ];
    for (name, make, close) in kinds.into_iter().filter(|(name, ..)| wanted("TASKLEDGER_GOLDEN", name)) {
        let mut s = Script::new();
        make(&mut s);
        if close {
            s.close();
        }
        let want = s.journal.want(usize::MAX);
        assert_eq!(want.acked, want.items.len(), "all is acknowledged");
        let last_batch = want.items[..want.acked - 1].iter().rposition(|item| item.last_of_batch);
        let floor = last_batch.map_or(0, |n| n + 1);
        let pending = s.vfs.pending(s.vfs.trace_len());
        let cut = pending.image(&pending.none_kept()).expect("keeping nothing is always possible");
        let (all, truth) = (want.acked, Truth::of(&want));
        goldens.push(Golden { name: format!("{name}, killed"), vfs: s.vfs.kill(), truth: truth.clone(), floor: all });
        let floor = if close { all } else { floor };
        goldens.push(Golden { name: format!("{name}, power cut"), vfs: cut, truth, floor });
    }
    goldens
}

impl Golden {
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = self.vfs.files().into_iter();
        files.map(|path| (path.clone(), self.vfs.read_file(&path).expect("a listed file"))).collect()
    }

    fn segments(&self) -> Vec<PathBuf> {
        let files = self.vfs.files().into_iter();
        files.filter(|path| path.extension().is_some_and(|ext| ext == "log")).collect()
    }

    /// Does something to a copy and looks what comes out.
    fn check(&self, tally: &mut Tally, what: &dyn Fn() -> String, damage: impl FnOnce(&MemVfs)) {
        let image = self.vfs.fork();
        damage(&image);
        let class = self.truth.shown_by(&image, Depth::All).and_then(|shown| match shown {
            None => Ok(Class::Refused),
            Some(kept) if kept == self.truth.len() => Ok(Class::Whole),
            Some(kept) if kept >= self.floor => Ok(Class::Ambiguous),
            Some(kept) => Err(format!("ACKNOWLEDGED ENTRIES ARE LOST: {kept} are there of {}", self.truth.len())),
        });
        match class {
            Ok(class) => *tally.classes.entry(class).or_default() += 1,
            Err(wrong) if tally.wrong.len() < WRONG_MAX => {
                tally.wrong.push(format!("{}: {}: {wrong}", self.name, what()));
            }
            Err(_) => {}
        }
    }

    /// Which bytes of a file have all their bits flipped.
    fn used(&self, path: &Path, bytes: &[u8]) -> impl Fn(usize) -> bool {
        let (len, end) = (bytes.len(), frames_end(bytes));
        let is_ledger = path.ends_with("LEDGER");
        let is_segment = self.segments().iter().any(|segment| segment == path);
        move |at| match (is_ledger, is_segment) {
            (true, _) => at < 96,
            (_, true) => at < 160 || (4096..end + 64).contains(&at) || at + 64 >= len,
            _ => true,
        }
    }
}

/// Behind the last byte of a segment that is not zero, the seal slot aside.
fn frames_end(bytes: &[u8]) -> usize {
    let area = &bytes[..bytes.len().saturating_sub(64)];
    area.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)
}

/// One line of the table; keeps what is wrong for the end.
fn line(name: &str, tally: Tally, wrong: &mut Vec<String>) -> String {
    let of = |class| tally.classes.get(&class).copied().unwrap_or_default();
    let total: u64 = tally.classes.values().sum();
    let [whole, refused, ambiguous] = [Class::Whole, Class::Refused, Class::Ambiguous].map(of);
    wrong.extend(tally.wrong);
    format!("{name:<84} {total:>7} = {whole:>6} whole + {refused:>7} refused + {ambiguous:>5} ambiguous")
}

fn assert_nothing_wrong(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} times something came out that must not:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_bit() {
    let mut wrong = Vec::new();
    for golden in goldens() {
        for (path, bytes) in golden.files() {
            let used = golden.used(&path, &bytes);
            let mut tally = Tally::default();
            for bit in 0..bytes.len() * 8 {
                if !used(bit / 8) && bit % stride() != 0 {
                    continue;
                }
                golden.check(&mut tally, &|| format!("{} with bit {bit} flipped", path.display()), |image| {
                    image.flip_bit(&path, bit as u64).expect("the file has this bit");
                });
            }
            println!("{}", line(&format!("bits: {}: {}", golden.name, path.display()), tally, &mut wrong));
        }
    }
    assert_nothing_wrong(&wrong);
}

#[test]
fn every_truncation() {
    let mut wrong = Vec::new();
    for golden in goldens() {
        for (path, bytes) in golden.files() {
            let end = if bytes.len() > 4096 { frames_end(&bytes) + 64 } else { bytes.len() };
            let mut tally = Tally::default();
            for len in 0..bytes.len() {
                // The first page of a segment is one header: a short one is refused at once.
                let is_used = len < 160 || (4000..end).contains(&len) || len + 65 > bytes.len();
                if !is_used && len % stride() != 0 {
                    continue;
                }
                golden.check(&mut tally, &|| format!("{} cut to {len} bytes", path.display()), |image| {
                    image.truncate(&path, len as u64).expect("the file is longer");
                });
            }
            println!("{}", line(&format!("cuts: {}: {}", golden.name, path.display()), tally, &mut wrong));
        }
    }
    assert_nothing_wrong(&wrong);
}

#[test]
fn missing_files() {
    let mut wrong = Vec::new();
    for golden in goldens() {
        for (path, _) in golden.files() {
            let mut tally = Tally::default();
            golden.check(&mut tally, &|| format!("{} is missing", path.display()), |image| {
                image.remove_file(&path).expect("a listed file");
            });
            println!("{}", line(&format!("missing: {}: {}", golden.name, path.display()), tally, &mut wrong));
        }
    }
    assert_nothing_wrong(&wrong);
}

#[test]
fn misplaced_segments() {
    let mut wrong = Vec::new();
    for golden in goldens() {
        let mut tally = Tally::default();
        let segments = golden.segments();
        for (n, path) in segments.iter().enumerate() {
            let bytes = golden.vfs.read_file(path).expect("a listed file");
            let number = segments.len() + 1;
            let base = golden.truth.len() + 1;
            for name in [format!("{number:010}-{base:020}.log"), format!("{:010}-{base:020}.log", n + 2)] {
                let copy = Path::new(DIR).join("log").join(&name);
                golden.check(&mut tally, &|| format!("{} is there again as {name}", path.display()), |image| {
                    image.write_file(&copy, &bytes).expect("the name is free");
                });
            }
            for other in &segments[n + 1..] {
                let others = golden.vfs.read_file(other).expect("a listed file");
                golden.check(
                    &mut tally,
                    &|| format!("{} and {} exchanged", path.display(), other.display()),
                    |image| {
                        image.write_file(path, &others).expect("a file");
                        image.write_file(other, &bytes).expect("a file");
                    },
                );
            }
        }
        println!("{}", line(&format!("misplaced: {}", golden.name), tally, &mut wrong));
    }
    assert_nothing_wrong(&wrong);
}

#[test]
fn longer_files() {
    let mut wrong = Vec::new();
    for golden in goldens() {
        let mut tally = Tally::default();
        for (path, bytes) in golden.files() {
            for more in [1, 7, 8, 63, 64, 512, 4096] {
                for filler in [0, 0x5a, 0xff] {
                    golden.check(&mut tally, &|| format!("{} with {more} more {filler:#x}", path.display()), |image| {
                        let filler = vec![filler; more];
                        image.write_bytes(&path, bytes.len() as u64, &filler).expect("the file grows");
                    });
                }
            }
        }
        println!("{}", line(&format!("longer: {}", golden.name), tally, &mut wrong));
    }
    assert_nothing_wrong(&wrong);
}

//! The ways to damage one file, and all cases of each for a golden ledger. A case says which bytes it hits, so that what
//! may come out follows from it alone.

use std::path::{Path, PathBuf};

use taskledger::vfs::fault::{MemVfs, SECTOR};

use super::evidence::Hit;
use super::golden::Golden;
use crate::crash::script::DIR;
use crate::support::Rng;

/// A file, and a sector of it.
pub type Place = (usize, usize);

/// One damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Case {
    /// A bit of a byte is flipped.
    Bit { file: usize, at: usize, bit: u8 },
    /// A byte has another value.
    Byte { file: usize, at: usize, value: u8 },
    /// A file ends early.
    Cut { file: usize, len: usize },
    /// A file goes on with the same byte.
    Longer { file: usize, more: usize, filler: u8 },
    /// A sector holds zeros.
    Zeroed(Place),
    /// A sector holds what looks random.
    Garbled(Place),
    /// Two sectors have changed places.
    Swapped(Place, Place),
    /// A write of the second went to the first.
    Misdirected(Place, Place),
    /// A sector holds what it held earlier: that version of those known.
    Older(Place, usize),
    /// A file is not there.
    Missing(usize),
    /// A file is there again under another name, in place of what had it.
    Copied(usize, PathBuf),
    /// Two files have changed names.
    Exchanged(usize, usize),
}

impl Case {
    /// The name of its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Case::Bit { .. } => "bit flipped",
            Case::Byte { .. } => "byte changed",
            Case::Cut { .. } => "file cut",
            Case::Longer { .. } => "file longer",
            Case::Zeroed(_) => "sector zeroed",
            Case::Garbled(_) => "sector garbled",
            Case::Swapped(..) => "sectors swapped",
            Case::Misdirected(..) => "sector misdirected",
            Case::Older(..) => "sector older",
            Case::Missing(_) => "file missing",
            Case::Copied(..) => "file copied",
            Case::Exchanged(..) => "files exchanged",
        }
    }

    /// What becomes of the files: for each file the new bytes from a place on.
    fn writes(&self, golden: &Golden) -> Vec<(usize, usize, Vec<u8>)> {
        let sector = |place: &Place| sector_of(golden, *place).to_vec();
        let at = |(file, sector): &Place, bytes: Vec<u8>| {
            let room = golden.files[*file].1.len() - sector * SECTOR;
            (*file, sector * SECTOR, bytes[..bytes.len().min(room)].to_vec())
        };
        match self {
            Case::Bit { file, at, bit } => vec![(*file, *at, vec![golden.files[*file].1[*at] ^ 1 << bit])],
            Case::Byte { file, at, value } => vec![(*file, *at, vec![*value])],
            Case::Longer { file, more, filler } => vec![(*file, golden.files[*file].1.len(), vec![*filler; *more])],
            Case::Zeroed(place) => vec![at(place, vec![0; SECTOR])],
            Case::Garbled(place) => vec![at(place, garbage(*place))],
            Case::Swapped(one, other) => vec![at(one, sector(other)), at(other, sector(one))],
            Case::Misdirected(to, from) => vec![at(to, sector(from))],
            Case::Older(place, version) => vec![at(place, golden.older[place][*version].clone())],
            Case::Cut { .. } | Case::Missing(_) | Case::Copied(..) | Case::Exchanged(..) => Vec::new(),
        }
    }

    /// Does it to a copy of the ledger, and says which bytes are other ones now.
    pub fn apply(&self, golden: &Golden, image: &MemVfs) -> Vec<Hit> {
        let path = |file: usize| &golden.files[file].0;
        let whole = |file: usize| (file, 0..golden.files[file].1.len().max(1));
        let mut hits = Vec::new();
        for (file, offset, bytes) in self.writes(golden) {
            image.write_bytes(path(file), offset as u64, &bytes).expect("the file is there");
            hits.push((file, offset..offset + bytes.len()));
        }
        match self {
            Case::Cut { file, len } => {
                image.truncate(path(*file), *len as u64).expect("the file is longer");
                // Also the end: a file that is shorter than it says is damaged, whatever was there.
                hits.push((*file, *len..golden.files[*file].1.len() + 1));
            }
            Case::Missing(file) => {
                image.remove_file(path(*file)).expect("the file is there");
                hits.push(whole(*file));
            }
            Case::Copied(file, name) => {
                image.write_file(name, &golden.files[*file].1).expect("no directory has that name");
                hits.extend(golden.files.iter().position(|(path, _)| path == name).map(whole));
            }
            Case::Exchanged(one, other) => {
                image.write_file(path(*one), &golden.files[*other].1).expect("a file");
                image.write_file(path(*other), &golden.files[*one].1).expect("a file");
                hits.extend([whole(*one), whole(*other)]);
            }
            _ => {}
        }
        hits
    }

    /// Whether it hits a bit of a closed ledger by which the rest is understood, or vouched for.
    pub fn is_telling(&self, golden: &Golden) -> bool {
        matches!(self, Case::Bit { file, at, .. } if golden.is_closed && golden.evidence.is_telling(*file, *at))
    }

    /// Whether it hits one of these files, or files as such.
    pub fn hits(&self, files: &[usize]) -> bool {
        match self {
            Case::Bit { file, .. } | Case::Byte { file, .. } | Case::Cut { file, .. } | Case::Longer { file, .. } => {
                files.contains(file)
            }
            Case::Zeroed((file, _)) | Case::Garbled((file, _)) | Case::Older((file, _), _) => files.contains(file),
            Case::Swapped(one, other) => files.contains(&one.0) || files.contains(&other.0),
            Case::Misdirected(to, _) => files.contains(&to.0),
            Case::Missing(_) | Case::Copied(..) | Case::Exchanged(..) => true,
        }
    }

    /// Whether a copy stands under a name that is nobody's.
    pub fn is_beside(&self) -> bool {
        matches!(self, Case::Copied(_, name) if name.extension().is_some_and(|end| end == "tmp" || end == "txt"))
    }
}

fn sector_of(golden: &Golden, (file, sector): Place) -> &[u8] {
    let bytes = &golden.files[file].1;
    &bytes[sector * SECTOR..bytes.len().min((sector + 1) * SECTOR)]
}

/// What looks random, and is the same in every run.
pub fn garbage((file, sector): Place) -> Vec<u8> {
    let mut rng = Rng((file << 32 | sector) as u64);
    (0..SECTOR).map(|_| rng.next() as u8).collect()
}

fn places(golden: &Golden) -> Vec<Place> {
    let sectors = |file: usize| golden.files[file].1.len().div_ceil(SECTOR);
    (0..golden.files.len()).flat_map(|file| (0..sectors(file)).map(move |sector| (file, sector))).collect()
}

/// Each bit of each byte.
pub fn bits(golden: &Golden) -> Vec<Case> {
    each_byte(golden, |file, at, _| (0..8).map(|bit| Case::Bit { file, at, bit }).collect())
}

/// Each byte set to 00, to FF, and one higher.
pub fn bytes(golden: &Golden) -> Vec<Case> {
    each_byte(golden, |file, at, old| {
        let mut values = vec![0, 0xff, old.wrapping_add(1)];
        values.dedup();
        values.retain(|value| *value != old);
        values.into_iter().map(|value| Case::Byte { file, at, value }).collect()
    })
}

fn each_byte(golden: &Golden, cases: impl Fn(usize, usize, u8) -> Vec<Case>) -> Vec<Case> {
    let mut all = Vec::new();
    for (file, (_, bytes)) in golden.files.iter().enumerate() {
        all.extend(bytes.iter().enumerate().flat_map(|(at, old)| cases(file, at, *old)));
    }
    all
}

/// Each length below that of the file.
pub fn cuts(golden: &Golden) -> Vec<Case> {
    let lens = |file: usize| 0..golden.files[file].1.len();
    (0..golden.files.len()).flat_map(|file| lens(file).map(move |len| Case::Cut { file, len })).collect()
}

/// Each file longer, by a little and by much.
pub fn longer(golden: &Golden) -> Vec<Case> {
    let mut cases = Vec::new();
    for file in 0..golden.files.len() {
        for more in (1..=64).chain([511, 512, 513, 4095, 4096]) {
            cases.extend([0, 0x5a, 0xff].map(|filler| Case::Longer { file, more, filler }));
        }
    }
    cases
}

/// Each sector zeroed and garbled, and set to each version that it had.
pub fn sectors(golden: &Golden) -> Vec<Case> {
    let places = places(golden).into_iter();
    places
        .flat_map(|place| {
            let zeroed = sector_of(golden, place).iter().any(|byte| *byte != 0).then_some(Case::Zeroed(place));
            let versions = golden.older.get(&place).map_or(0, Vec::len);
            let older = (0..versions).map(move |version| Case::Older(place, version));
            zeroed.into_iter().chain([Case::Garbled(place)]).chain(older)
        })
        .collect()
}

/// Each sector in the place of each other one, and each two exchanged.
pub fn moved(golden: &Golden) -> Vec<Case> {
    let places = places(golden);
    let mut cases = Vec::new();
    for (n, one) in places.iter().enumerate() {
        for other in &places[n + 1..] {
            if sector_of(golden, *one) != sector_of(golden, *other) {
                cases.push(Case::Swapped(*one, *other));
                cases.push(Case::Misdirected(*one, *other));
                cases.push(Case::Misdirected(*other, *one));
            }
        }
    }
    cases
}

/// Each file missing, in the place of each other one, exchanged with it, and there again under names of its own.
pub fn files(golden: &Golden) -> Vec<Case> {
    let count = golden.files.len();
    let log = Path::new(DIR).join("log");
    let segments = golden.files.iter().filter(|(path, _)| path.starts_with(&log)).count();
    let base = golden.truth.len() + 1;
    let mut names = vec![log.join("spare.tmp"), log.join("notes.txt"), Path::new(DIR).join("LEDGER.tmp")];
    for number in [0, segments, segments + 1, segments + 2] {
        names.extend([1, base].map(|base| log.join(format!("{number:010}-{base:020}.log"))));
    }
    let mut cases = Vec::new();
    for file in 0..count {
        cases.push(Case::Missing(file));
        let others = golden.files.iter().enumerate().filter(|(other, _)| *other != file).map(|(_, (path, _))| path);
        cases.extend(others.chain(&names).map(|name| Case::Copied(file, name.clone())));
        let others = (file + 1..count).filter(|other| golden.files[file].1 != golden.files[*other].1);
        cases.extend(others.map(|other| Case::Exchanged(file, other)));
    }
    cases
}

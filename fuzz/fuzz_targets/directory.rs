//! The golden ledger with any changes to its files and their names; checksums are made right again where asked for.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use taskledger_fuzz::bytes::{Files, Frame, HEADER, frames, get, put, set_in_page};
use taskledger_fuzz::{golden, judge};

#[derive(Debug, Arbitrary)]
enum Change {
    /// Bytes of LEDGER or of a segment's header, with its checksum made right.
    Page {
        file: u8,
        offset: u16,
        value: [u8; 8],
        bytes: u8,
    },
    /// A field of a frame, with its checksums made right.
    Frame {
        file: u8,
        frame: u8,
        field: u8,
        value: u64,
    },
    /// Bytes anywhere, checksums as they are.
    Bytes {
        file: u8,
        offset: u32,
        value: Vec<u8>,
    },
    Truncate {
        file: u8,
        len: u32,
    },
    Extend {
        file: u8,
        by: u16,
    },
    Remove {
        file: u8,
    },
    Swap {
        file: u8,
        other: u8,
    },
    /// A copy as another segment, or under any name in `log/`.
    Copy {
        file: u8,
        number: u64,
        base: u64,
    },
    Name {
        file: u8,
        name: String,
    },
}

fn pick(files: &Files, n: u8) -> Option<String> {
    files.keys().nth(usize::from(n) % files.len().max(1)).cloned()
}

fn is_page(name: &str, bytes: &[u8]) -> bool {
    (name == "LEDGER" || name.starts_with("log/")) && bytes.len() >= HEADER
}

fn apply(files: &mut Files, change: Change) -> Option<()> {
    match change {
        Change::Page { file, offset, value, bytes } => {
            let name = pick(files, file)?;
            let page = files.get_mut(&name).filter(|page| is_page(&name, page))?;
            let value = &value[..usize::from(bytes % 8) + 1];
            set_in_page(page, usize::from(offset) % (HEADER - 8), value);
        }
        Change::Frame { file, frame, field, value } => {
            let name = pick(files, file)?;
            let segment = files.get_mut(&name).filter(|page| name.starts_with("log/") && is_page(&name, page))?;
            let all = frames(segment);
            let mut chosen: Frame = all.get(usize::from(frame) % all.len().max(1))?.clone();
            match field % 7 {
                0 => chosen.kind = value as u8,
                1 => chosen.epoch = value as u32,
                2 => chosen.first = value as u32,
                3 => chosen.mark = value as u32,
                4 => chosen.events = value as u16,
                5 => chosen.time = value & ((1 << 48) - 1),
                _ => {
                    let at = (value >> 8) as usize % chosen.body.len().max(1);
                    *chosen.body.get_mut(at)? = value as u8;
                }
            }
            let bytes = chosen.encode(get(segment, 104));
            put(segment, chosen.offset, &bytes);
        }
        Change::Bytes { file, offset, value } => {
            let name = pick(files, file)?;
            let bytes = files.get_mut(&name)?;
            let at = offset as usize % bytes.len().max(1);
            let most = value.len().min(bytes.len() - at);
            put(bytes, at, &value[..most]);
        }
        Change::Truncate { file, len } => {
            let name = pick(files, file)?;
            files.get_mut(&name)?.truncate(len as usize);
        }
        Change::Extend { file, by } => {
            let name = pick(files, file)?;
            let bytes = files.get_mut(&name)?;
            bytes.resize(bytes.len() + usize::from(by), 0);
        }
        Change::Remove { file } => drop(files.remove(&pick(files, file)?)),
        Change::Swap { file, other } => {
            let (file, other) = (pick(files, file)?, pick(files, other)?);
            let (one, two) = (files[&file].clone(), files[&other].clone());
            files.insert(file, two);
            files.insert(other, one);
        }
        Change::Copy { file, number, base } => {
            let bytes = files[&pick(files, file)?].clone();
            files.insert(format!("log/{:010}-{base:020}.log", number % 10_000_000_000), bytes);
        }
        Change::Name { file, name } => {
            let plain =
                !name.is_empty() && name.len() < 200 && !name.contains(['/', '\0']) && name != "." && name != "..";
            let bytes = files[&pick(files, file)?].clone();
            plain.then(|| files.insert(format!("log/{name}"), bytes))?;
        }
    }
    Some(())
}

fuzz_target!(|changes: Vec<Change>| {
    let mut files = golden();
    for change in changes.into_iter().take(16) {
        let _ = apply(&mut files, change);
    }
    judge(&files);
});

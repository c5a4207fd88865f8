//! Rot of a ledger that was closed in order: each damage is found, or changes no answer. Whether a refusal was needed is not
//! asked here; the tests of `rot` do that.

use std::path::PathBuf;

use taskledger::vfs::fault::{MemVfs, SECTOR};
use taskledger::{Entry, Error, Seq};

use crate::crash::journal::Want;
use crate::crash::oracle::{Answers, entries_match, fold_matches, told};
use crate::crash::script::{DIR, Script, options};
use crate::support::Rng;

/// How many damages one ledger gets, each by itself.
const DAMAGES: u64 = 400;

#[derive(Debug)]
enum Damage {
    Bit(u64),
    Zeroed(u64),
    Garbled(u64),
    Cut(u64),
}

/// Damages what the script left, again and again; how often, and what is wrong.
pub fn rot(script: &Script, rng: &mut Rng) -> Result<u64, String> {
    let vfs = script.vfs.kill();
    let ledger = options(&vfs).open(DIR).map_err(|error| format!("opening refuses: {}", told(&error)))?;
    let all: Vec<Entry> = ledger.entries(Seq::FIRST).collect::<Result<_, _>>().map_err(|error| told(&error))?;
    ledger.close().map_err(|error| told(&error))?;
    let want = script.journal.want(usize::MAX).shown(all.len());
    let files: Vec<(PathBuf, Vec<u8>)> = vfs
        .files()
        .into_iter()
        .filter_map(|path| vfs.read_file(&path).ok().filter(|bytes| !bytes.is_empty()).map(|bytes| (path, bytes)))
        .collect();
    for _ in 0..DAMAGES {
        let (path, bytes) = &files[rng.below(files.len() as u64) as usize];
        let sector = SECTOR as u64 * rng.below((bytes.len() as u64).div_ceil(SECTOR as u64));
        let damage = match rng.below(8) {
            0 => Damage::Zeroed(sector),
            1 => Damage::Garbled(sector),
            2 => Damage::Cut(rng.below(bytes.len() as u64)),
            // Most of a file is zeros: bits where something is written are more telling.
            _ => match bytes.iter().rposition(|&byte| byte != 0) {
                Some(last) => Damage::Bit(rng.below(8 * (last as u64 + 1))),
                None => Damage::Bit(rng.below(8 * bytes.len() as u64)),
            },
        };
        let image = vfs.fork();
        let mut noise = [0; SECTOR];
        let done = match damage {
            Damage::Bit(bit) => image.flip_bit(path, bit),
            Damage::Zeroed(at) => image.write_bytes(path, at, &noise[..SECTOR.min(bytes.len() - at as usize)]),
            Damage::Garbled(at) => {
                noise.fill_with(|| rng.next() as u8);
                image.write_bytes(path, at, &noise[..SECTOR.min(bytes.len() - at as usize)])
            }
            Damage::Cut(len) => image.truncate(path, len),
        };
        done.map_err(|error| error.to_string())?;
        look(&image, &want).map_err(|what| format!("{damage:?} of {}: {what}", path.display()))?;
    }
    Ok(DAMAGES)
}

/// All is there and reads as before, or it is refused as damaged or as of another format.
fn look(image: &MemVfs, want: &Want) -> Result<(), String> {
    let reader = match options(image).open_read_only(DIR) {
        Ok(reader) => reader,
        Err(Error::Damaged { .. } | Error::Format { .. }) => return Ok(()),
        Err(error) => return Err(format!("it is refused by {}", told(&error))),
    };
    entries_match(&Answers::View(reader.view()), want)?;
    fold_matches(&Answers::View(reader.view()), &want.items)
}

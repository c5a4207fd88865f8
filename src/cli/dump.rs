//! `dump`: one segment as it is stored, piece by piece, for whoever has to look at bytes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};
use taskledger::vfs::ops::{Access, Vfs, VfsFile, read_full_at};
use taskledger::vfs::real::RealVfs;
use taskledger::{Dump, DumpFrame, DumpPiece, Error, Options};

use crate::cli::args::Setting;
use crate::cli::asking::DumpArgs;
use crate::cli::entry::{Lines, Naming};
use crate::cli::fail::Failure;
use crate::cli::out::{Form, Object, Out};
use crate::cli::text::{bytes, count, flow, right, safe, width};
use crate::cli::time::stamp;

/// Of what is no frame, so many bytes are shown at most.
const HEX_BYTES: u64 = 64 << 10;
/// Bytes in one line.
const HEX_LINE: usize = 16;

pub(crate) fn run(args: &DumpArgs, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    let path = file_of(args, setting)?;
    let dump = Options::new().dump(&path)?;
    let mut sums = Sums::new(&path, &dump);
    let told = tell(args, &path, dump, &mut sums, out);
    // What was met counts also where nobody reads the rest of it.
    match told.and_then(|()| Ok(out.flush()?)) {
        Ok(()) | Err(Failure::ClosedPipe) => Ok(if sums.problems > 0 { 5 } else { 0 }),
        Err(failure) => Err(failure),
    }
}

/// The file that is meant.
fn file_of(args: &DumpArgs, setting: &Setting) -> Result<PathBuf, Failure> {
    let is_number = !args.segment.is_empty() && args.segment.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        return Ok(PathBuf::from(&args.segment));
    }
    let segments = Options::new().segments(&setting.dir)?;
    let (Some((first, _)), Some((last, _))) = (segments.first(), segments.last()) else {
        return Err(Error::NoLedger { path: setting.dir.clone() }.into());
    };
    let there = format!("there are the segments {first} to {last}; a file of that name is ./{}", args.segment);
    let asked = args.segment.parse().ok();
    let found = segments.into_iter().find(|(number, _)| Some(*number) == asked);
    found.map(|(_, path)| path).ok_or_else(|| {
        let dir = setting.dir.to_string_lossy();
        Failure::new("NOT_FOUND", format!("there is no segment {} in {dir}", args.segment))
            .hint(there)
            .with("path", dir)
    })
}

/// What all pieces come to.
struct Sums {
    path: String,
    number: u64,
    base: u64,
    bytes: u64,
    header_problem: Option<String>,
    frames: u64,
    entries: u64,
    problems: u64,
}

impl Sums {
    fn new(path: &Path, dump: &Dump) -> Sums {
        let header_problem = dump.header_problem().map(str::to_owned);
        Sums {
            path: path.to_string_lossy().into_owned(),
            number: dump.number(),
            base: dump.base().0,
            bytes: dump.length(),
            problems: u64::from(header_problem.is_some()),
            header_problem,
            frames: 0,
            entries: 0,
        }
    }

    fn add(&mut self, piece: &DumpPiece) {
        if let DumpPiece::Frame(frame) = piece {
            self.frames += 1;
            self.entries += frame.entries.len() as u64;
        }
        self.problems += u64::from(piece.problem().is_some());
    }

    fn object(&self) -> Object {
        let object = Object::new("taskledger.dump/1").with("path", self.path.as_str()).with("number", self.number);
        let object = object.with("base", self.base).with("bytes", self.bytes).with("frames", self.frames);
        let object = object.with("entries", self.entries).with("problems", self.problems);
        self.header_problem.iter().fold(object, |object, what| object.with("header_problem", what.as_str()))
    }
}

fn tell(args: &DumpArgs, path: &Path, dump: Dump, sums: &mut Sums, out: &mut Out) -> Result<(), Failure> {
    let file =
        RealVfs.open(path, Access::Read).map_err(|error| Failure::io("open", &path.to_string_lossy(), &error))?;
    let bytes = Raw { file, path };
    if out.form == Form::People {
        let (path, number, base, size) = (safe(&sums.path), sums.number, sums.base, sums.bytes);
        writeln!(out, "{path}: segment {number}, from seq {base} on, {size} bytes")?;
        if let Some(what) = &sums.header_problem {
            writeln!(out, "\x1b[31mheader\x1b[0m  {}", safe(what))?;
        }
    }
    // Wide enough for every offset.
    let columns = sums.bytes.to_string().len();
    let mut shown = 0;
    for piece in dump {
        if args.limit.is_some_and(|limit| shown >= limit) {
            break;
        }
        let piece = piece?;
        sums.add(&piece);
        if args.offset.is_some_and(|offset| piece.bytes().end <= offset) {
            continue;
        }
        shown += 1;
        let raw = if args.hex { bytes.of(&piece)? } else { Vec::new() };
        match out.form {
            Form::Json => out.json(&Told { piece: &piece, raw: args.hex.then_some(&raw) })?,
            Form::People => print(piece, &raw, columns, out)?,
        }
    }
    match out.form {
        Form::Json => Ok(out.json(&sums.object())?),
        Form::People => {
            let frames = count(sums.frames, "frame", "frames");
            let entries = count(sums.entries, "entry", "entries");
            let what = match sums.problems {
                0 => "every checksum matches".to_owned(),
                n => format!(
                    "{} not sound; `taskledger verify` says whether anything is lost",
                    count(n, "piece is", "pieces are")
                ),
            };
            Ok(writeln!(out, "{frames} with {entries}; {what}")?)
        }
    }
}

/// The bytes of the file.
struct Raw<'a> {
    file: Arc<dyn VfsFile>,
    path: &'a Path,
}

impl Raw<'_> {
    /// Those of a piece that are shown; none of one that was never written.
    fn of(&self, piece: &DumpPiece) -> Result<Vec<u8>, Failure> {
        let (range, most) = (piece.bytes(), if matches!(piece, DumpPiece::Frame(_)) { u64::MAX } else { HEX_BYTES });
        let length = if matches!(piece, DumpPiece::Unwritten { .. }) { 0 } else { (range.end - range.start).min(most) };
        let mut bytes = vec![0; length as usize];
        let read = read_full_at(&*self.file, &mut bytes, range.start);
        let read = read.map_err(|error| Failure::io("read", &self.path.to_string_lossy(), &error))?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

/// `taskledger.piece/1`.
struct Told<'a> {
    piece: &'a DumpPiece,
    raw: Option<&'a Vec<u8>>,
}

impl Serialize for Told<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let piece = self.piece;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", "taskledger.piece/1")?;
        map.serialize_entry("offset", &piece.bytes().start)?;
        map.serialize_entry("length", &(piece.bytes().end - piece.bytes().start))?;
        map.serialize_entry("kind", kind(piece))?;
        if let Some(problem) = piece.problem() {
            map.serialize_entry("problem", problem)?;
        }
        match piece {
            DumpPiece::Frame(frame) => {
                map.serialize_entry("checksum", &frame.checksum)?;
                map.serialize_entry("epoch", &frame.epoch)?;
                map.serialize_entry("first", &frame.first)?;
                map.serialize_entry("count", &frame.count)?;
                map.serialize_entry("durable", &frame.durable)?;
                map.serialize_entry("at", &frame.at)?;
                map.serialize_entry("entries", &frame.entries)?;
                if !frame.unnamed.is_empty() {
                    map.serialize_entry("unnamed", &frame.unnamed)?;
                }
            }
            DumpPiece::Seal { sealed: Some((successor, end, last)), .. } => {
                map.serialize_entry("successor", successor)?;
                map.serialize_entry("end", end)?;
                map.serialize_entry("last", last)?;
            }
            _ => {}
        }
        if let Some(raw) = self.raw {
            map.serialize_entry("hex", &raw.iter().map(|byte| format!("{byte:02x}")).collect::<String>())?;
        }
        map.end()
    }
}

fn kind(piece: &DumpPiece) -> &'static str {
    match piece {
        DumpPiece::Frame(frame) => frame.kind,
        DumpPiece::Bad { .. } => "bad",
        DumpPiece::Unwritten { .. } => "unwritten",
        _ => "seal",
    }
}

fn print(piece: DumpPiece, raw: &[u8], columns: usize, out: &mut Out) -> Result<(), Failure> {
    let length = piece.bytes().end - piece.bytes().start;
    let mut facts = Vec::new();
    if let Some(problem) = piece.problem() {
        facts.push(format!("\x1b[31m{}\x1b[0m", safe(problem)));
    }
    match &piece {
        DumpPiece::Frame(frame) => facts.extend(facts_of(frame)),
        DumpPiece::Seal { sealed: None, .. } => facts.push("not sealed".to_owned()),
        DumpPiece::Seal { sealed: Some((successor, end, last)), .. } => {
            facts.push(format!("ends at byte {end} with seq {last}, and segment {successor} goes on"));
        }
        _ => {}
    }
    facts.push(if length < 1024 { count(length, "byte", "bytes") } else { bytes(length) });
    let head = format!("{}  {}", right(&piece.bytes().start.to_string(), columns), kind(&piece));
    let wide = width(&head);
    writeln!(out, "{}", flow(head, wide, &facts, columns + 2, out.columns))?;
    hex(piece.bytes().start, raw, columns, out)?;
    if let DumpPiece::Frame(frame) = piece {
        let mut unnamed = frame.unnamed.into_iter().peekable();
        let mut lines = Lines::new(Naming::EachTask, false).indented(4);
        for mut entry in frame.entries {
            if let Some((_, number)) = unnamed.next_if(|(seq, _)| *seq == entry.seq) {
                entry.task = Some(format!("({number})"));
            }
            lines.add(entry, out)?;
        }
        lines.print(out)?;
    }
    Ok(())
}

fn facts_of(frame: &DumpFrame) -> Vec<String> {
    let seqs = match frame.count {
        0 => format!("before seq {}", frame.first),
        1 => format!("seq {}", frame.first),
        n => format!("seq {} to {}", frame.first, frame.first.0 + n - 1),
    };
    let checksum = if frame.checksum { "checksum ok" } else { "checksum wrong" };
    let unnamed = (!frame.unnamed.is_empty()).then(|| format!("{} without a name", frame.unnamed.len()));
    let facts = [seqs, format!("epoch {}", frame.epoch), format!("durable {}", frame.durable), stamp(frame.at)];
    facts.into_iter().chain([checksum.to_owned()]).chain(unnamed).collect()
}

/// Bytes as numbers and letters.
fn hex(start: u64, raw: &[u8], indent: usize, out: &mut Out) -> Result<(), Failure> {
    for (n, line) in raw.chunks(HEX_LINE).enumerate() {
        let numbers: String = line.iter().map(|byte| format!("{byte:02x} ")).collect();
        let letter = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
        let letters: String = line.iter().map(letter).collect();
        let offset = start + (n * HEX_LINE) as u64;
        let (indent, columns) = (" ".repeat(indent.saturating_sub(8)), 3 * HEX_LINE);
        writeln!(out, "{indent}{offset:08x}  {numbers:columns$} {}", letters.trim_end())?;
    }
    Ok(())
}

//! `info`: how a ledger is, for an operator or for monitoring. Reads what opening reads, and the sizes of the files.

use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use taskledger::vfs::ops::{Access, Kind, Vfs};
use taskledger::vfs::real::RealVfs;
use taskledger::{Ledger, OpenReport, Seq, TaskState, View, Writer};

use crate::cli::args::Setting;
use crate::cli::fail::Failure;
use crate::cli::look;
use crate::cli::out::{Form, Object, Out};
use crate::cli::show::section;
use crate::cli::text::{by_state, bytes, count, safe, uuid};
use crate::cli::time::stamp;

pub(crate) fn run(setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    let reader = Ledger::open_read_only(&setting.dir)?;
    let path = look::whole_path(&setting.dir)?;
    let size = on_disk(&setting.dir)?;
    match out.form {
        Form::Json => out.json(&object(path, reader.view(), reader.report(), size))?,
        Form::People => print(&path, reader.view(), reader.report(), size, out)?,
    }
    Ok(0)
}

/// What the files of a directory come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Size {
    files: u64,
    bytes: u64,
}

/// Adds up all files of a directory and those below it. What a writer takes away meanwhile does not count.
fn on_disk(dir: &Path) -> Result<Size, Failure> {
    let mut size = Size::default();
    let mut dirs = vec![dir.to_owned()];
    let failed = |action, path: &Path, error: io::Error| Failure::io(action, &path.to_string_lossy(), &error);
    while let Some(dir) = dirs.pop() {
        for entry in there(RealVfs.list(&dir)).map_err(|error| failed("list", &dir, error))?.unwrap_or_default() {
            let path = dir.join(entry.name);
            match entry.kind {
                Kind::Dir => dirs.push(path),
                Kind::File => {
                    let opened = RealVfs.open(&path, Access::Read).and_then(|file| file.len());
                    let bytes = there(opened).map_err(|error| failed("open", &path, error))?;
                    size.files += u64::from(bytes.is_some());
                    size.bytes += bytes.unwrap_or(0);
                }
                Kind::Other => {}
            }
        }
    }
    Ok(size)
}

fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

fn object(path: String, view: &View, report: &OpenReport, size: Size) -> Object {
    let region = |(file, bytes): &(PathBuf, Range<u64>)| json!({"file": file.to_string_lossy(), "from": bytes.start, "to": bytes.end});
    let counts = view.counts();
    let states: Map<String, Value> =
        TaskState::ALL.map(|state| (state.name().to_owned(), counts.of(state).into())).into_iter().collect();
    let gaps: Vec<Value> = report.gaps.iter().map(region).collect();
    let unfit = |(file, what): &(PathBuf, String)| json!({"file": file.to_string_lossy(), "what": what});
    let unfit: Vec<Value> = report.unfit.iter().map(unfit).collect();
    let fields = [
        ("path", Some(path.into())),
        ("uuid", Some(uuid(&report.uuid).into())),
        ("created_at", Some(report.created_at.into())),
        ("oldest", Some(report.oldest.0.into())),
        ("seq", Some(view.seq().0.into())),
        ("at", (view.seq() > Seq::ZERO).then(|| view.at().into())),
        ("vouched", Some(report.vouched.0.into())),
        ("writer", report.writer.map(|writer| writer.pid.into())),
        ("writer_since", report.writer.map(|writer| writer.since.into())),
        ("clean", is_clean(report).map(Value::from)),
        ("total", Some(counts.total().into())),
        ("states", Some(states.into())),
        ("notes", Some(view.note_count().into())),
        ("segments", Some(report.segments.into())),
        ("files", Some(size.files.into())),
        ("disk_bytes", Some(size.bytes.into())),
        ("left_out", report.left_out.as_ref().map(region)),
        ("gaps", Some(gaps.into())),
        ("unfit", Some(unfit.into())),
    ];
    let there = fields.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)));
    there.fold(Object::new("taskledger.info/1"), |object, (name, value)| object.with(name, value))
}

/// Whether the last writer closed it in order. One that still lives has had no occasion to.
fn is_clean(report: &OpenReport) -> Option<bool> {
    report.writer.is_none().then_some(report.clean)
}

fn print(path: &str, view: &View, report: &OpenReport, size: Size, out: &mut Out) -> Result<(), Failure> {
    writeln!(out, "{}", safe(path))?;
    let end = match view.seq() {
        Seq::ZERO => "seq 0, nothing was appended yet".to_owned(),
        seq => format!("seq {seq} ({})", stamp(view.at())),
    };
    section(out, "ledger", &format!("{}, made {}", uuid(&report.uuid), stamp(report.created_at)))?;
    section(out, "end", &end)?;
    if report.oldest > Seq::FIRST {
        section(out, "kept", &format!("from seq {} on; what was before was pruned", report.oldest))?;
    }
    section(out, "vouched", &format!("up to seq {}", report.vouched))?;
    let writer = match (report.writer, is_clean(report)) {
        (Some(Writer { pid, since, .. }), _) => format!("process {pid} has had it open since {}", stamp(since)),
        (None, Some(true)) => "none; it was closed in order".to_owned(),
        (None, _) => "none; the last one did not close it in order, and the next one sees to that".to_owned(),
    };
    section(out, "writer", &writer)?;
    let counts = view.counts();
    let states = if counts.total() > 0 { format!(": {}", by_state(counts)) } else { String::new() };
    section(out, "tasks", &format!("{}{states}", counts.total()))?;
    if view.note_count() > 0 {
        section(out, "notes", &view.note_count().to_string())?;
    }
    let (files, segments) = (count(size.files, "file", "files"), count(report.segments, "segment", "segments"));
    section(out, "on disk", &format!("{} in {files}, {segments}", bytes(size.bytes)))?;
    for (name, (file, bytes)) in
        report.left_out.iter().map(|region| ("left out", region)).chain(report.gaps.iter().map(|gap| ("gap", gap)))
    {
        let region = format!("bytes {} to {} of {}", bytes.start, bytes.end, safe(&file.to_string_lossy()));
        section(out, name, &region)?;
    }
    for (file, what) in &report.unfit {
        section(out, "unfit", &format!("{}: {what}", safe(&file.to_string_lossy())))?;
    }
    Ok(())
}

//! What `verify` finds and how it is told: findings with coordinates, a verdict, and their JSON.

use std::ops::Range;
use std::path::PathBuf;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::model::seq::Seq;
use crate::model::subject::Subject;

/// How deep to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Level {
    /// Headers, checksums, lengths, sequence, and how segments vouch for each other.
    Structure,
    /// Also every event: decoding, limits, back references, legal moves, the fold.
    Content,
    /// Also the indexes and snapshots: each record, count and place of them is what the log makes of it.
    Derived,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Remark,
    /// A file that is made of the log is not what the log makes of it. No entry is concerned, and the ledger is sound: whoever
    /// finds such a file unfit reads the log in its place.
    Warning,
    /// An incomplete end that nobody was told is safe.
    Tail,
    /// Damage.
    Damage,
}

/// What it comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Verdict {
    /// Everything that was vouched for is there.
    Sound,
    /// Only an unacknowledged end is incomplete; nothing is lost.
    TornTail,
    /// Something is damaged.
    Damaged,
}

/// How far verifying has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// How many bytes of the log were looked at.
    pub done: u64,
    /// How many there are in all. It grows where the log turns out to be read once more.
    pub all: u64,
    /// How many entries were looked at.
    pub entries: u64,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A stable code for what it is.
    pub code: &'static str,
    /// The file.
    pub file: PathBuf,
    /// Which bytes of it, where they can be named.
    pub bytes: Option<Range<u64>>,
    /// The first and last entry concerned, where they are known.
    pub seqs: Option<(Seq, Seq)>,
    /// The task or note concerned, where there is one.
    pub subject: Option<Subject>,
    /// What is wrong, in words.
    pub what: String,
    /// What to do next.
    pub next: &'static str,
}

/// What verifying came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Everything found: in the log, in its order, then in what is made of it.
    pub findings: Vec<Finding>,
    /// How deep it looked.
    pub level: Level,
    /// Up to which entry it looked.
    pub checked_to: Seq,
    /// The oldest entry that is kept; those before it were pruned.
    pub oldest: Seq,
    /// How many segments, frames, entries and bytes of frames it read.
    pub segments: u64,
    /// See `segments`.
    pub frames: u64,
    /// See `segments`.
    pub entries: u64,
    /// See `segments`.
    pub bytes: u64,
    /// How many indexes and snapshots it compared with the log.
    pub tables: u64,
    /// How many times it read the log to fold it: more than once where its tasks and notes would not fit into
    /// [`Options::verify_memory`](crate::Options::verify_memory).
    pub passes: u64,
    /// The process that has the ledger open for writing, where one lives.
    pub writer: Option<u32>,
}

impl VerifyReport {
    /// The worst of the findings.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self.findings.iter().map(|finding| finding.severity).max() {
            None | Some(Severity::Remark | Severity::Warning) => Verdict::Sound,
            Some(Severity::Tail) => Verdict::TornTail,
            Some(Severity::Damage) => Verdict::Damaged,
        }
    }
}

/// `taskledger.finding/1`.
impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", "taskledger.finding/1")?;
        let severity = match self.severity {
            Severity::Remark => "remark",
            Severity::Warning => "warning",
            Severity::Tail => "tail",
            Severity::Damage => "damage",
        };
        map.serialize_entry("severity", severity)?;
        map.serialize_entry("code", self.code)?;
        map.serialize_entry("file", &self.file.to_string_lossy())?;
        if let Some(bytes) = &self.bytes {
            map.serialize_entry("from", &bytes.start)?;
            map.serialize_entry("to", &bytes.end)?;
        }
        if let Some(seqs) = self.seqs {
            map.serialize_entry("seqs", &[seqs.0, seqs.1])?;
        }
        match &self.subject {
            None => {}
            Some(Subject::Task(id)) => map.serialize_entry("task", id)?,
            Some(Subject::Note(key)) => map.serialize_entry("note", key)?,
        }
        map.serialize_entry("message", &self.what)?;
        map.serialize_entry("next", self.next)?;
        map.end()
    }
}

/// `taskledger.verify/1`.
impl Serialize for VerifyReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", "taskledger.verify/1")?;
        let verdict = match self.verdict() {
            Verdict::Sound => "sound",
            Verdict::TornTail => "torn_tail",
            Verdict::Damaged => "damaged",
        };
        map.serialize_entry("verdict", verdict)?;
        let level = match self.level {
            Level::Structure => "structure",
            Level::Content => "content",
            Level::Derived => "derived",
        };
        map.serialize_entry("level", level)?;
        map.serialize_entry("checked_to", &self.checked_to)?;
        map.serialize_entry("oldest", &self.oldest)?;
        map.serialize_entry("segments", &self.segments)?;
        map.serialize_entry("frames", &self.frames)?;
        map.serialize_entry("entries", &self.entries)?;
        map.serialize_entry("bytes", &self.bytes)?;
        map.serialize_entry("tables", &self.tables)?;
        map.serialize_entry("passes", &self.passes)?;
        map.serialize_entry("findings", &self.findings.len())?;
        if let Some(pid) = self.writer {
            map.serialize_entry("writer", &pid)?;
        }
        map.end()
    }
}

//! The indexes and snapshots that a directory has, for `verify`: by the segment that each ends with, as its name says.
//!
//! They are listed before the segments: whatever is there by then, its segment and that one's successor are there, too.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ledger::inspect::{open, remark, warning};
use crate::ledger::report::Finding;
use crate::model::seq::Seq;
use crate::storage::names;
use crate::storage::segment::Segment;
use crate::storage::table::page::TableKind;
use crate::vfs::ops::{Kind, Vfs};

/// The names in the directories of indexes and snapshots.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// Number and base seq of the segment.
    indexes: Vec<(u64, Seq, PathBuf)>,
    /// Last seq.
    snapshots: Vec<(Seq, PathBuf)>,
    unfinished: Vec<PathBuf>,
    strays: Vec<PathBuf>,
}

/// Tables by the position of the segment that they end with.
pub(crate) type Tables = Vec<Vec<(TableKind, PathBuf)>>;

impl Listed {
    /// Lists them. A directory that is missing or cannot be listed has none.
    pub(crate) fn read(vfs: &dyn Vfs, dir: &Path) -> Listed {
        let mut listed = Listed::default();
        for (home, is_index) in [(names::index_dir(dir), true), (names::snapshot_dir(dir), false)] {
            let mut entries = vfs.list(&home).unwrap_or_default();
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            for entry in entries {
                let path = home.join(&entry.name);
                let name = entry.name.to_str().filter(|_| entry.kind == Kind::File).unwrap_or_default();
                match (names::parse_index(name), names::parse_snapshot(name)) {
                    (Some((number, base)), _) if is_index => listed.indexes.push((number, base, path)),
                    (_, Some(last)) if !is_index => listed.snapshots.push((last, path)),
                    _ if names::is_unfinished(name) => listed.unfinished.push(path),
                    _ => listed.strays.push(path),
                }
            }
        }
        listed
    }

    /// Which tables end with which of these segments, and what there is to say of names alone. Where the log is damaged, or a
    /// writer may have taken segments away, a table without one is no finding.
    pub(crate) fn by_segment(
        &self,
        vfs: &dyn Vfs,
        segments: &[Arc<Segment>],
        writer_lives: bool,
        whole: bool,
    ) -> (Tables, Vec<Finding>) {
        let mut tables: Tables = vec![Vec::new(); segments.len()];
        let mut findings = Vec::new();
        let sealed = segments.len().saturating_sub(1);
        let mut put = |n: Option<usize>, kind, path: &Path| match n.and_then(|n| tables.get_mut(n)) {
            Some(tables) => tables.push((kind, path.to_owned())),
            None if whole && !writer_lives => {
                let what = "no sealed segment of the log ends where its name says".to_owned();
                findings.push(warning("TABLE_FOREIGN", path, None, what));
            }
            None => {}
        };
        for (number, base, path) in &self.indexes {
            let n = segments
                .iter()
                .take(sealed)
                .position(|segment| (segment.header.number, segment.header.base) == (*number, *base));
            put(n, TableKind::Index, path);
        }
        for (last, path) in &self.snapshots {
            // Segments without entries end with the same seq; then the snapshot itself says which it is.
            let ends = |next: &Arc<Segment>| next.header.predecessor.is_some_and(|named| named.last == *last);
            let all: Vec<usize> =
                segments.iter().skip(1).enumerate().filter(|(_, next)| ends(next)).map(|(n, _)| n).collect();
            let number = || open(vfs, path).and_then(Result::ok).map(|table| table.header.number);
            let said = if all.len() > 1 { number() } else { None };
            let of_number = |n: &&usize| segments.get(**n).is_some_and(|segment| Some(segment.header.number) == said);
            put(all.iter().find(of_number).or(all.first()).copied(), TableKind::Snapshot, path);
        }
        findings.extend(
            self.strays
                .iter()
                .map(|path| remark("STRAY", path, None, "it is not a file of this ledger, and is not looked at")),
        );
        if !writer_lives {
            let what = "it was being made; the next writer removes it";
            findings.extend(self.unfinished.iter().map(|path| remark("UNFINISHED", path, None, what)));
        }
        if whole && !writer_lives {
            // The newest may not have its index yet: that is made after the roll.
            for (segment, tables) in segments.iter().zip(&tables).take(sealed.saturating_sub(1)) {
                if !tables.iter().any(|(kind, _)| *kind == TableKind::Index) {
                    let what = "it has no index; what is asked of it is read from the segment itself";
                    findings.push(remark("TABLE_MISSING", &segment.path, None, what));
                }
            }
        }
        (tables, findings)
    }
}

//! What sealed segments come to, in parts: tables on disk, or layers in memory where there is no table yet; and looks into them.
//!
//! Invariant: the newest part that knows a task or note is right about it, and parts stand with the newest first.

use std::sync::Arc;

use crate::model::layer::{Held, Layer};
use crate::model::seq::Seq;
use crate::model::subject::Realm;
use crate::storage::table::merge::Source;
use crate::storage::table::page::TableHeader;
use crate::storage::table::read::{Table, Unfit};

/// What some sealed segments come to.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    Table(Arc<Table>),
    Layer { end: End, layer: Arc<Layer> },
}

/// Where a part ends, and how many records and notes there are in all by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// Of the segment.
    pub number: u64,
    pub last: Seq,
    pub at: u64,
    pub counts: [u64; 9],
    pub noted: u64,
}

/// Where a look into parts begins: none before has what is looked for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Look {
    part: usize,
    /// The first block of that part, a table, which may have it; `None` where nobody has asked the table yet.
    block: Option<u64>,
}

impl Part {
    pub(crate) fn end(&self) -> End {
        match self {
            Part::Layer { end, .. } => *end,
            Part::Table(table) => {
                let TableHeader { number, last, at, counts, noted, .. } = table.header;
                End { number, last, at, counts, noted }
            }
        }
    }

    /// Whether memory holds it, for want of a table.
    pub(crate) fn is_layer(&self) -> bool {
        matches!(self, Part::Layer { .. })
    }

    pub(crate) fn source(&self) -> Source<'_> {
        match self {
            Part::Table(table) => Source::Table(table),
            Part::Layer { layer, .. } => Source::Layer(layer),
        }
    }
}

/// Says to the disk that what guides looks into tables will be read.
pub(crate) fn hint_guides(parts: &[Part]) {
    for part in parts {
        if let Part::Table(table) = part {
            table.hint_guides();
        }
    }
}

/// Where a look for a hash into the parts begins, by filters and fences.
///
/// # Errors
/// A table cannot be read.
pub(crate) fn look(parts: &[Part], hash: u64) -> Result<Look, Unfit> {
    for (part, of) in parts.iter().enumerate() {
        let (knows, block) = match of {
            Part::Layer { layer, .. } => (!layer.of(hash).is_empty(), None),
            Part::Table(table) => table.block_of(hash).map(|block| (block.is_some(), block))?,
        };
        if knows {
            return Ok(Look { part, block });
        }
    }
    Ok(Look { part: parts.len(), block: None })
}

/// Says to the disk what a look will read.
pub(crate) fn hint(parts: &[Part], look: Look) {
    if let (Some(Part::Table(table)), Some(block)) = (parts.get(look.part), look.block) {
        table.hint_look(block);
    }
}

/// What parts know of a task or note, those before `start` excepted.
///
/// # Errors
/// A table cannot be read.
pub(crate) fn find_in(parts: &[Part], start: Look, hash: u64, realm: Realm, key: &str) -> Result<Option<Held>, Unfit> {
    let mut known = start.block;
    for part in parts.iter().skip(start.part) {
        match part {
            Part::Layer { layer, .. } => {
                if let Some(held) = layer.get(hash, realm, key) {
                    return Ok(Some(held.clone()));
                }
            }
            Part::Table(table) => {
                let block = known.take().map_or_else(|| table.block_of(hash), |block| Ok(Some(block)))?;
                let Some(block) = block else { continue };
                if let Some(record) = table.find_from(block, hash, realm, key)? {
                    let slot = Arc::new(table.slot_of(&record)?);
                    return Ok(Some(Held { hash, realm, key: record.key, slot }));
                }
            }
        }
    }
    Ok(None)
}

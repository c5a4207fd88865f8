//! Merging tables: the newest record of each task and note, in order, with one record of each table in memory.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::storage::table::read::{Scan, Table, Unfit};
use crate::storage::table::record::{Class, Classes, Record};

/// The newest records of several tables, in order. What cannot be read is an error, and ends it.
#[derive(Debug)]
pub(crate) struct Merge {
    /// The newest table first, each with its next record.
    scans: Vec<(Scan, Option<Record>)>,
    classes: Classes,
    started: bool,
}

impl Merge {
    /// Of tables that stand newest first, the records of some classes, from a hash on.
    pub(crate) fn new(tables: &[Arc<Table>], from: u64, classes: Classes) -> Merge {
        let oldest = tables.len().saturating_sub(1);
        let scan = |(n, table): (usize, &Arc<Table>)| {
            // Every record of a newer table hides an older one, whatever its class.
            let classes = if n == oldest { classes } else { Class::ALL };
            (table.scan(from, classes), None)
        };
        Merge { scans: tables.iter().enumerate().map(scan).collect(), classes, started: false }
    }

    fn start(&mut self) -> Result<(), Unfit> {
        if !self.started {
            self.started = true;
            for (scan, next) in &mut self.scans {
                *next = scan.next().transpose()?;
            }
        }
        Ok(())
    }

    /// The newest record of the next task or note, whatever its class.
    fn advance(&mut self) -> Result<Option<Record>, Unfit> {
        let mut first: Option<&Record> = None;
        for (_, next) in &self.scans {
            if let Some(next) = next
                && first.is_none_or(|first| next.order(first) == Ordering::Less)
            {
                first = Some(next);
            }
        }
        let Some(first) = first.cloned() else { return Ok(None) };
        for (scan, next) in &mut self.scans {
            if next.as_ref().is_some_and(|next| next.order(&first) == Ordering::Equal) {
                *next = scan.next().transpose()?;
            }
        }
        Ok(Some(first))
    }
}

impl Iterator for Merge {
    type Item = Result<Record, Unfit>;

    fn next(&mut self) -> Option<Result<Record, Unfit>> {
        loop {
            let next = self.start().and_then(|()| self.advance());
            match next.transpose()? {
                Ok(record) if record.class.bit() & self.classes == 0 => {}
                Ok(record) => return Some(Ok(record)),
                Err(unfit) => {
                    self.scans.clear();
                    return Some(Err(unfit));
                }
            }
        }
    }
}

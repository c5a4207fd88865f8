//! Merging what is known of tasks and notes, newest first: the newest of each counts. One record of each table is in memory.

use std::sync::Arc;

use crate::model::layer::{Held, Layer};
use crate::model::slot::Slot;
use crate::model::subject::Realm;
use crate::storage::table::read::{Table, Unfit};
use crate::storage::table::record::{Class, Classes, Record};
use crate::storage::table::scan::Scan;

/// Where some of it is known from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'a> {
    Table(&'a Arc<Table>),
    Layer(&'a Layer),
}

/// What is known of one task or note.
#[derive(Debug, Clone)]
pub(crate) enum Known {
    Held(Held),
    Record { record: Record, table: Arc<Table> },
}

/// The newest that is known of each, in order. What cannot be read is an error, and ends it.
pub(crate) struct Merge<'a> {
    /// The newest first, each with what comes next.
    inputs: Vec<(Input<'a>, Option<Known>)>,
    classes: Classes,
    started: bool,
}

enum Input<'a> {
    Scan(Scan),
    Layer(Box<dyn Iterator<Item = &'a Held> + 'a>),
}

impl<'a> Merge<'a> {
    /// Of sources that stand newest first, what is of some classes, from a hash on.
    pub(crate) fn new(sources: Vec<Source<'a>>, from: u64, classes: Classes) -> Merge<'a> {
        let oldest = sources.len().saturating_sub(1);
        let input = |(n, source)| match source {
            // All of a newer one hides what is older, whatever its class.
            Source::Table(table) => Input::Scan(table.scan(from, if n == oldest { classes } else { Class::ALL })),
            Source::Layer(layer) => Input::Layer(Box::new(layer.from(from))),
        };
        let inputs = sources.into_iter().enumerate().map(|source| (input(source), None)).collect();
        Merge { inputs, classes, started: false }
    }

    fn advance(&mut self) -> Result<Option<Known>, Unfit> {
        if !self.started {
            self.started = true;
            for (input, next) in &mut self.inputs {
                *next = input.next().transpose()?;
            }
        }
        let first = self.inputs.iter().filter_map(|(_, next)| next.as_ref());
        // Of equal ones the first is taken, which is the newest.
        let Some(first) = first.min_by_key(|known| known.place()).cloned() else { return Ok(None) };
        for (input, next) in &mut self.inputs {
            if next.as_ref().is_some_and(|next| next.place() == first.place()) {
                *next = input.next().transpose()?;
            }
        }
        Ok(Some(first))
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<Known, Unfit>;

    fn next(&mut self) -> Option<Result<Known, Unfit>> {
        loop {
            match self.advance().transpose()? {
                Ok(known) if known.class().bit() & self.classes == 0 => {}
                Ok(known) => return Some(Ok(known)),
                Err(unfit) => {
                    self.inputs.clear();
                    return Some(Err(unfit));
                }
            }
        }
    }
}

impl Input<'_> {
    fn next(&mut self) -> Option<Result<Known, Unfit>> {
        match self {
            Input::Scan(scan) => {
                let next = scan.next()?;
                Some(next.map(|record| Known::Record { record, table: Arc::clone(scan.table()) }))
            }
            Input::Layer(held) => held.next().map(|held| Ok(Known::Held(held.clone()))),
        }
    }
}

impl Known {
    pub(crate) fn place(&self) -> (u64, Realm, &str) {
        match self {
            Known::Held(held) => held.place(),
            Known::Record { record, .. } => record.place(),
        }
    }

    pub(crate) fn class(&self) -> Class {
        match self {
            Known::Held(held) => Class::of(held.realm, held.slot.live.as_ref()),
            Known::Record { record, .. } => record.class,
        }
    }

    pub(crate) fn key(&self) -> &Arc<str> {
        match self {
            Known::Held(held) => &held.key,
            Known::Record { record, .. } => &record.key,
        }
    }

    /// # Errors
    /// The bytes of a record are no slot.
    pub(crate) fn slot(&self) -> Result<Arc<Slot>, Unfit> {
        match self {
            Known::Held(held) => Ok(Arc::clone(&held.slot)),
            Known::Record { record, table } => table.slot_of(record).map(Arc::new),
        }
    }

    pub(crate) fn into_record(self) -> Record {
        match self {
            Known::Held(held) => Record::of(held.hash, held.realm, &held.key, &held.slot),
            Known::Record { record, .. } => record,
        }
    }
}

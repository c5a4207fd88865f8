//! Promises: durable, atomic, ordered, checkable.

pub mod options;

mod primitives;

pub mod batch;

mod parts;

pub mod tasks;

mod recent;

mod segments;

mod floor;

mod fold;

mod derived;

mod log;

pub mod history;

pub mod view;

mod check;

mod word;

mod gate;

mod bell;

mod spare;

mod core;

mod flight;

mod backlog;

mod roll;

mod commit;

pub mod ticket;

mod close;

mod create;

mod cut;

pub mod open;

mod beside;

pub mod follow;

pub mod reader;

mod maintain;

pub mod report;

mod refold;

mod inspect;

mod footing;
mod listed;

mod pass;
pub mod verify;

pub mod dump;

pub mod handle;

mod past;

mod pages;

pub mod diff;

pub mod orphans;

pub mod prune;

mod copying;

pub mod backup;

mod salvage;

mod gaps;

mod again;

mod survey;

pub mod repair;

#[cfg(test)]
mod schedules;

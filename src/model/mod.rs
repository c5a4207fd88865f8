//! What happened: events, their places, and the records they fold into. No I/O, no locks; one file reads the clock.

pub mod clock;

pub mod limits;

pub mod seq;

pub mod state;

pub mod record;

pub mod json;

pub mod event;

pub mod subject;

pub mod entry;

pub mod canon;

pub mod expect;

pub mod fold;

pub mod history;

pub mod rules;

pub mod notes;

pub mod slot;

pub mod layer;

pub mod warm;

pub mod tasks;

pub mod diff;

//! Any text as lines of an import. What is understood is appended or refused; the log of what was appended goes in
//! again, every line of it, and comes to the same.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use taskledger::vfs::fault::MemVfs;
use taskledger::{Batch, Entry, Error, Expect, Ledger, Seq, Subject};
use taskledger_fuzz::bytes::options;

/// The lines as the command line understands them: its own files.
#[allow(dead_code, reason = "a part of what is there is for commands")]
#[path = "."]
mod cli {
    #[path = "../../src/cli/fact.rs"]
    pub mod fact;
    #[path = "../../src/cli/line.rs"]
    pub mod line;
    #[path = "../../src/cli/time.rs"]
    pub mod time;
}

use cli::line::Line;

fn append(ledger: &Ledger, line: &Line<'_>) -> Result<(), Error> {
    let mut batch = Batch::new();
    match &line.subject {
        Subject::Task(id) => batch.push(id, line.event(), Expect::Any),
        Subject::Note(key) => batch.push_note(key, line.event(), Expect::Any),
    };
    ledger.commit(batch).map(drop)
}

fn fresh() -> Ledger {
    let vfs = MemVfs::new();
    vfs.set_now_ms(1_800_000_000_000);
    options(&vfs).open(Path::new("/fuzz")).expect("there is room")
}

fn entries(ledger: &Ledger) -> Vec<Entry> {
    ledger.entries(Seq::FIRST).collect::<Result<_, _>>().expect("what was appended is read")
}

fuzz_target!(|text: &str| {
    let first = fresh();
    for text in text.lines() {
        let Ok(line) = Line::parse(text) else { continue };
        let _ = line.given();
        match append(&first, &line) {
            Ok(()) | Err(Error::Illegal { .. } | Error::Limit { .. } | Error::Time { .. } | Error::Key { .. }) => {}
            Err(other) => panic!("{text}: {other:?}"),
        }
    }
    let (before, second) = (entries(&first), fresh());
    for entry in &before {
        let text = serde_json::to_string(entry).expect("an entry is JSON");
        let line = Line::parse(&text).unwrap_or_else(|bad| panic!("{text}: {bad:?}"));
        append(&second, &line).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    let after = entries(&second);
    assert_eq!(after.len(), before.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((before.subject(), before.version, before.from), (after.subject(), after.version, after.from));
        assert_eq!(before.event.kind(), after.event.kind());
    }
});

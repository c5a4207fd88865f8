//! A ledger with all kinds of events about tasks and notes, late times, keys used again, tasks removed and made again, and
//! texts that are hard on every format; the same for the same seed.

use taskledger::vfs::real::RealVfs;
use taskledger::{Batch, Event, Expect, Ledger, Options, Seq, TaskState};

use crate::support::{ClockVfs, Rng};

const START: u64 = 1_772_330_400_000;

/// Texts that somebody forgets when he writes a format.
pub const HOSTILE: [&str; 19] = [
    "plain/a",
    "quote\" and 'quote'",
    "line\nbreak\r\nand\rback\u{2028}",
    "nul\0bell\u{7}escape\u{1b}[31m",
    "del\u{7f}c1\u{9b}",
    "emoji \u{1f680} e\u{301} \u{202e}turned",
    "=HYPERLINK(\"http://example.invalid\",\"x\")",
    "+1",
    "-1;2",
    "@sum,1",
    "'apostrophe",
    "\ttab",
    "carriage\rreturn",
    " space ",
    "</script><!--",
    "{\"ph\":\"X\"},",
    "\u{fffe}\u{fdd0}",
    "\\backslash\\u0000",
    "null",
];

struct Source {
    rng: Rng,
}

impl Source {
    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.rng.below(of.len() as u64) as usize]
    }

    fn once_in(&mut self, n: u64) -> bool {
        self.rng.below(n) == 0
    }

    fn text(&mut self) -> String {
        match self.rng.below(40) {
            0 => "long ".repeat(700),
            _ => self.one(&HOSTILE).to_owned(),
        }
    }

    fn json(&mut self) -> String {
        let text = serde_json::to_string(&self.text()).unwrap();
        match self.rng.below(8) {
            0 => "null".to_owned(),
            1 => "-1.50e+3".to_owned(),
            2 => "123456789012345678901234567890".to_owned(),
            3 => format!("{{\n  {text}: [\r\n1 ,\t2.0 ]}}"),
            4 => format!("{}{}", "[".repeat(60), "]".repeat(60)),
            5 => "\"\\u0000\\ud83d\\ude80\"".to_owned(),
            _ => text,
        }
    }

    fn state(&mut self) -> TaskState {
        TaskState::ALL[self.rng.below(TaskState::ALL.len() as u64) as usize]
    }

    /// What everything may say.
    fn context(&mut self, mut event: Event, at: u64, seq: u64) -> Event {
        if self.once_in(3) {
            event = event.by(self.one(&HOSTILE));
        }
        if self.once_in(4) {
            event = event.because(self.text());
        }
        if seq > 1 && self.once_in(5) {
            event = event.cause(Seq(1 + self.rng.below(seq - 1)));
        }
        if self.once_in(3) {
            event = event.key(format!("key-{}", self.rng.below(40)));
        }
        match self.rng.below(4) {
            // Late, by up to an hour.
            0 => event.at(at - self.rng.below(3_600_000)),
            1 => event,
            _ => event.at(at),
        }
    }

    fn task_event(&mut self, at: u64, seq: u64) -> Event {
        let mut event = match self.rng.below(20) {
            0..=2 => Event::created(),
            3..=11 => Event::to(self.state()),
            12..=13 => Event::updated(),
            14 => Event::requeued(if self.once_in(2) { TaskState::Ready } else { TaskState::Pending }),
            15..=18 => Event::observed(self.state()),
            _ => return Event::removed(),
        };
        if event.kind().name() == "observed" {
            let time = |source: &mut Source| at - source.rng.below(10_000_000);
            if self.once_in(3) {
                event = event.created_at(time(self)).updated_at(time(self));
            }
            if self.once_in(3) {
                let times = [None, Some(time(self))];
                event =
                    event.started_at(times[self.rng.below(2) as usize]).finished_at(times[self.rng.below(2) as usize]);
            }
        }
        if self.once_in(4) {
            event = event.output_text(&self.json());
        }
        if self.once_in(4) {
            event = if self.once_in(3) { event.clear_error() } else { event.error(self.text()) };
        }
        if self.once_in(3) {
            let key = format!("{}{}", self.one(&HOSTILE), self.rng.below(3));
            event = if self.once_in(4) { event.unset(key) } else { event.meta(key, self.text()) };
        }
        if self.once_in(12) {
            event = event.attempts(self.rng.below(9) as u32);
        }
        if self.once_in(15) && matches!(event.kind().name(), "transitioned") {
            event = event.inferred();
        }
        self.context(event, at, seq)
    }
}

/// Writes so many steps, some of which are refused.
pub fn write(dir: &str, seed: u64, steps: u64) {
    let clock = ClockVfs::new(RealVfs, START);
    let ledger: Ledger = Options::new().vfs(clock.clone()).segment_size(64 << 10).open(dir).unwrap();
    let mut source = Source { rng: Rng(seed) };
    let mut refused = 0;
    for step in 0..steps {
        let at = START + step * 700;
        // Clocks step back, too.
        clock.set(at - source.rng.below(5000).min(step));
        let mut batch = Batch::new();
        for _ in 0..1 + source.rng.below(3) {
            let key = format!("{}{}", source.one(&HOSTILE), if source.once_in(9) { "/2" } else { "" });
            let seq = ledger.head().0 + 1;
            if source.once_in(6) {
                let event = if source.once_in(5) { Event::removed() } else { Event::noted_text(&source.json()) };
                batch.push_note(key, source.context(event, at, seq), Expect::Any);
            } else {
                batch.push(key, source.task_event(at, seq), Expect::Any);
            }
        }
        refused += u64::from(ledger.commit(batch).is_err());
    }
    assert!(refused < steps * 9 / 10 && ledger.head().0 > steps / 4, "{refused} of {steps}, {}", ledger.head());
    ledger.close().unwrap();
}

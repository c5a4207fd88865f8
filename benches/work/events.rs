//! The events that all stores are given, made from a seed, and what is right about them.
//!
//! Every task goes through the same moves, all of them legal; tasks take turns at random, so that what follows another
//! event is seldom of the same task. An event is 200 bytes: seq, time, task number, version, from, to, attempt, the task's
//! id of 20 bytes, and a text of 152 bytes in the shape of JSON that does not compress. The n-th event is a function of
//! the seed and n: nothing is kept of it but whose turn it was.

use super::Outcome;

/// Bytes of an event.
pub const BYTES: usize = 200;
const TEXT: usize = 48;
/// The first event's time: 2026-03-01, in milliseconds since the Unix epoch. Each later one is a millisecond later.
const START: u64 = 1_772_323_200_000;

/// The states by their numbers here. 0 is: not there.
pub const STATES: [&str; 10] = [
    "absent",
    "pending",
    "ready",
    "running",
    "completed",
    "failed",
    "retrying",
    "cancelled",
    "skipped",
    "dead_lettered",
];
const PENDING: u8 = 1;
const READY: u8 = 2;
const RUNNING: u8 = 3;
const COMPLETED: u8 = 4;
const FAILED: u8 = 5;
const RETRYING: u8 = 6;
const CANCELLED: u8 = 7;

/// Tasks by state, without those that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts(pub [u64; 10]);

impl Counts {
    pub fn of(states: &[u8]) -> Counts {
        let mut counts = Counts::default();
        for &state in states {
            counts.add(state, 1);
        }
        counts
    }

    pub fn add(&mut self, state: u8, tasks: u64) {
        if let Some(count) = self.0.get_mut(usize::from(state)).filter(|_| state != 0) {
            *count += tasks;
        }
    }
}

/// An event as it is given to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Payload([u8; BYTES]);

/// What a store tells of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told<'a> {
    pub seq: u64,
    pub at: u64,
    pub version: u32,
    pub to: u8,
    /// How often the task has run so far.
    pub attempt: u32,
    pub text: &'a str,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).copied().unwrap_or([0; N])
}

impl Payload {
    pub fn read(bytes: &[u8]) -> Outcome<Payload> {
        let bytes = bytes.try_into().map_err(|_| format!("an event of {} bytes came back", bytes.len()))?;
        Ok(Payload(bytes))
    }

    pub fn bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    pub fn seq(&self) -> u64 {
        u64::from_le_bytes(number(&self.0, 0))
    }

    pub fn at(&self) -> u64 {
        u64::from_le_bytes(number(&self.0, 8))
    }

    pub fn task(&self) -> u32 {
        u32::from_le_bytes(number(&self.0, 16))
    }

    pub fn version(&self) -> u32 {
        u32::from_le_bytes(number(&self.0, 20))
    }

    pub fn to(&self) -> u8 {
        self.0[25]
    }

    pub fn attempt(&self) -> u32 {
        u16::from_le_bytes(number(&self.0, 26)).into()
    }

    pub fn id(&self) -> &str {
        self.0.get(28..TEXT).and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default()
    }

    pub fn text(&self) -> &str {
        self.0.get(TEXT..).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }

    pub fn told(&self) -> Told<'_> {
        let (seq, at, version, to) = (self.seq(), self.at(), self.version(), self.to());
        Told { seq, at, version, to, attempt: self.attempt(), text: self.text() }
    }
}

/// The id of a task.
pub fn id(task: u32) -> String {
    format!("task-{task:07}/{:07x}", mix(task.into()) & 0xfff_ffff)
}

/// A number that has nothing to do with this one, but is the same each time.
pub fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Whose turn it is, event by event.
pub struct Script {
    seed: u64,
    tasks: u32,
    steps: u32,
    turns: Vec<u32>,
    versions: Vec<u32>,
}

impl Script {
    /// So many tasks with as many events each as there are to a task.
    pub fn new(seed: u64, tasks: u32, events: u64) -> Script {
        let steps = u32::try_from(events / u64::from(tasks.max(1))).unwrap_or(u32::MAX).max(1);
        let mut turns: Vec<u32> = (0..steps).flat_map(|_| 0..tasks).collect();
        for left in (1..turns.len()).rev() {
            let other = mix(seed.wrapping_add(left as u64)) % (left as u64 + 1);
            turns.swap(left, other as usize);
        }
        let mut had = vec![0; tasks as usize];
        let versions = turns.iter().map(|&task| {
            let version: &mut u32 = &mut had[task as usize];
            *version += 1;
            *version
        });
        let versions = versions.collect();
        Script { seed, tasks, steps, turns, versions }
    }

    pub fn len(&self) -> u64 {
        self.turns.len() as u64
    }

    pub fn tasks(&self) -> u32 {
        self.tasks
    }

    pub fn turns(&self) -> &[u32] {
        &self.turns
    }

    /// Where a task's version takes it: created, ready, then running, retrying and ready in turn, and in the end whatever
    /// became of it.
    pub fn state(&self, task: u32, version: u32) -> u8 {
        let turn = |version: u32| [RUNNING, RETRYING, READY][(version as usize - 3) % 3];
        match version {
            0 => 0,
            1 => PENDING,
            2 => READY,
            last if last == self.steps && last > 3 && turn(last - 1) == RUNNING => {
                match mix(self.seed ^ u64::from(task)) % 16 {
                    0..=12 => COMPLETED,
                    13 => FAILED,
                    14 => CANCELLED,
                    _ => RETRYING,
                }
            }
            other => turn(other),
        }
    }

    /// The event with this seq, from 1.
    pub fn event(&self, seq: u64) -> Payload {
        let (task, version) = (self.turns[seq as usize - 1], self.versions[seq as usize - 1]);
        let mut bytes = [0; BYTES];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &seq.to_le_bytes());
        put(8, &(START + seq).to_le_bytes());
        put(16, &task.to_le_bytes());
        put(20, &version.to_le_bytes());
        put(24, &[self.state(task, version - 1), self.state(task, version)]);
        put(26, &(if version < 3 { 0 } else { (version / 3) as u16 }).to_le_bytes());
        put(28, id(task).as_bytes());
        put(TEXT, br#"{"note":""#);
        put(BYTES - 2, br#""}"#);
        for (n, eight) in bytes[TEXT + 9..BYTES - 2].chunks_mut(8).enumerate() {
            let noise = mix(self.seed ^ (seq << 8 | n as u64)).to_le_bytes();
            for (byte, noise) in eight.iter_mut().zip(noise) {
                *byte = LETTERS[noise as usize % LETTERS.len()];
            }
        }
        Payload(bytes)
    }

    /// The events with these seqs.
    pub fn events(&self, seqs: impl Iterator<Item = u64>) -> Vec<Payload> {
        seqs.map(|seq| self.event(seq)).collect()
    }

    /// The state of each task after so many events.
    pub fn states_at(&self, seq: u64) -> Vec<u8> {
        let mut states = vec![0; self.tasks as usize];
        for (&task, &version) in self.turns.iter().zip(&self.versions).take(seq as usize) {
            states[task as usize] = self.state(task, version);
        }
        states
    }

    /// The seqs of each task's events, task after task, and how many each has.
    pub fn histories(&self) -> (Vec<u64>, usize) {
        let steps = self.steps as usize;
        let mut seqs = vec![0; self.turns.len()];
        for (n, (&task, &version)) in self.turns.iter().zip(&self.versions).enumerate() {
            seqs[task as usize * steps + version as usize - 1] = n as u64 + 1;
        }
        (seqs, steps)
    }
}

const LETTERS: [u8; 62] = *b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

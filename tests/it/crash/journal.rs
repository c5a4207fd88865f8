//! What a client outside of the ledger knows: what it submitted, when each call returned, and what that demands of
//! every later state. Nothing here asks the product.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use taskledger::{Entry, Event, EventKind, TaskState};

/// What a script says about a task, or about a note, which is named as the product's messages name it: `note KEY`.
#[derive(Debug, Clone)]
pub struct Fact {
    pub task: String,
    pub kind: Kind,
    pub note: Option<String>,
    pub output: Option<String>,
    /// The key by which a repetition is known.
    pub key: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Create,
    Move(TaskState),
    Update,
    /// The output is what the note says.
    Noted,
    NoteRemoved,
    /// So many entries are to go. It is about no task.
    Pruned(usize),
}

pub fn create(task: &str) -> Fact {
    Fact { task: task.to_owned(), kind: Kind::Create, note: None, output: None, key: None }
}

pub fn go(task: &str, to: TaskState) -> Fact {
    Fact { kind: Kind::Move(to), ..create(task) }
}

pub fn note(task: &str, text: &str) -> Fact {
    Fact { kind: Kind::Update, note: Some(text.to_owned()), ..create(task) }
}

/// An update with an output of about so many bytes, none of which repeats much.
pub fn large(task: &str, bytes: usize) -> Fact {
    let mut state = bytes as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let text: String = (0..bytes)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'a' + ((state >> 40) % 26) as u8)
        })
        .collect();
    Fact { kind: Kind::Update, output: Some(text), ..create(task) }
}

/// A note that says about so much.
pub fn noted(key: &str, bytes: usize) -> Fact {
    Fact { kind: Kind::Noted, ..large(&format!("note {key}"), bytes) }
}

pub fn note_removed(key: &str) -> Fact {
    Fact { kind: Kind::NoteRemoved, ..create(&format!("note {key}")) }
}

/// That so many entries go.
pub fn pruned(gone: usize) -> Fact {
    Fact { kind: Kind::Pruned(gone), ..create("") }
}

/// The same fact under a key by which its repetition is known.
pub fn keyed(fact: Fact, key: &str) -> Fact {
    Fact { key: Some(key.to_owned()), ..fact }
}

/// The key, where this names a note.
pub fn key_of_note(subject: &str) -> Option<&str> {
    subject.strip_prefix("note ")
}

impl Fact {
    pub fn event(&self) -> Event {
        let mut event = match self.kind {
            Kind::Create => Event::created(),
            Kind::Move(to) => Event::to(to),
            Kind::Update => Event::updated(),
            Kind::Noted => return Event::noted(self.output.as_deref()),
            Kind::NoteRemoved => return Event::removed(),
            Kind::Pruned(_) => unreachable!("nobody appends that"),
        };
        if let Some(note) = &self.note {
            event = event.meta("note", note);
        }
        if let Some(output) = &self.output {
            event = event.output(output.as_str());
        }
        if let Some(key) = &self.key {
            event = event.key(key);
        }
        event
    }
}

/// A task or a note as the client believes it to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Belief {
    pub version: u64,
    /// `None` for a note.
    pub state: Option<TaskState>,
    pub attempts: u32,
    pub updated_at: u64,
    pub note: Option<String>,
    /// What a note says; `None` for a task and for a note that is gone.
    pub says: Option<String>,
}

/// One entry as it must read.
#[derive(Debug, Clone)]
pub struct Item {
    pub task: String,
    pub after: Belief,
    pub last_of_batch: bool,
    /// How many entries go with it, where it tells of a prune.
    pub prunes: Option<usize>,
    json: Value,
    /// An entry that was compared with `json` and found equal; comparing with it is faster.
    known: Arc<OnceLock<Entry>>,
}

impl Item {
    fn of(fact: &Fact, seq: u64, at: u64, before: Option<&Belief>, last_of_batch: bool) -> Item {
        let running = fact.kind == Kind::Move(TaskState::Running);
        let attempts = before.map_or(0, |before| before.attempts) + u32::from(running);
        let state = match fact.kind {
            Kind::Create => Some(TaskState::Pending),
            Kind::Move(to) => Some(to),
            Kind::Noted | Kind::NoteRemoved | Kind::Pruned(_) => None,
            Kind::Update => before.expect("an update is of a task that is there").state,
        };
        let after = Belief {
            version: before.map_or(0, |before| before.version) + 1,
            state,
            attempts,
            updated_at: at,
            note: fact.note.clone().or_else(|| before.and_then(|before| before.note.clone())),
            says: fact.output.clone().filter(|_| fact.kind == Kind::Noted),
        };
        let mut json = json!({
            "type": "taskledger.entry/1", "seq": seq, "version": after.version, "at": at,
            "event": match fact.kind {
                Kind::Create => "created",
                Kind::Move(_) => "transitioned",
                Kind::Update => "updated",
                Kind::Noted => "noted",
                Kind::NoteRemoved => "removed",
                Kind::Pruned(_) => unreachable!("it has its own"),
            },
        });
        let mut set = |name: &str, value: Value| json[name] = value;
        match key_of_note(&fact.task) {
            Some(key) => set("note", json!(key)),
            None => set("task", json!(fact.task)),
        }
        if let Some(from) = before.and_then(|before| before.state) {
            set("from", json!(from));
        }
        if let Some(to) = state.filter(|_| fact.kind != Kind::Update) {
            set("to", json!(to));
        }
        if running {
            set("attempts", json!(attempts));
        }
        if let Some(note) = &fact.note {
            set("metadata", json!({ "note": note }));
        }
        if let Some(output) = &fact.output {
            set(if fact.kind == Kind::Noted { "value" } else { "output" }, json!(output));
        }
        if let Some(key) = &fact.key {
            set("key", json!(key));
        }
        Item { task: fact.task.clone(), after, last_of_batch, prunes: None, json, known: Arc::default() }
    }

    /// The entry that tells of a prune of the first `gone` of these. What only the files know is not in it.
    fn of_prune(gone: usize, before: &[Item], at: u64) -> Item {
        let went = &before[..gone];
        let beliefs = fold(went);
        let count = |state: TaskState| beliefs.values().filter(|belief| belief.state == Some(state)).count();
        let counts: BTreeMap<&str, usize> = TaskState::ALL.iter().map(|state| (state.name(), count(*state))).collect();
        let notes = beliefs.values().filter(|belief| belief.says.is_some()).count();
        let first = gone_before(before);
        let json = json!({
            "type": "taskledger.entry/1", "seq": before.len() + 1, "at": at, "event": "pruned",
            "output": {
                "first": first + 1, "last": gone, "first_at": before[first].after.updated_at,
                "last_at": went[gone - 1].after.updated_at, "counts": counts, "notes": notes,
            },
        });
        let after = Belief { version: 0, state: None, attempts: 0, updated_at: at, note: None, says: None };
        let task = String::new();
        Item { task, after, last_of_batch: true, prunes: Some(gone), json, known: Arc::default() }
    }

    pub fn check(&self, entry: &Entry) -> Result<(), String> {
        if self.known.get().is_some_and(|known| known == entry) {
            return Ok(());
        }
        let mut found = serde_json::to_value(entry).map_err(|error| error.to_string())?;
        if entry.event.kind() == EventKind::Pruned
            && let Some(told) = found["output"].as_object_mut()
        {
            told.retain(|name, _| !["segments", "bytes", "end", "chain"].contains(&name.as_str()));
        }
        if found != self.json {
            return Err(format!("an entry reads {found:.300}, and was submitted as {:.300}", self.json));
        }
        let _ = self.known.set(entry.clone());
        Ok(())
    }
}

/// The independent fold: the last belief about each task and note.
pub fn fold(items: &[Item]) -> HashMap<&str, &Belief> {
    items.iter().filter(|item| item.prunes.is_none()).map(|item| (item.task.as_str(), &item.after)).collect()
}

/// How many entries have gone where all prunes in these were finished.
pub fn gone_before(items: &[Item]) -> usize {
    items.iter().rev().find_map(|item| item.prunes).unwrap_or(0)
}

#[derive(Debug, Clone)]
struct Submitted {
    items: Vec<Item>,
    submitted_at: usize,
    acked_at: Option<usize>,
    /// Handed to the operating system: a kill does not take it, a power cut may.
    written: bool,
    withdrawn: bool,
}

/// One opening and what was submitted through it.
#[derive(Debug, Clone, Default)]
struct Phase {
    /// How long the trace was when opening returned.
    start: usize,
    /// What opening showed: from then on it must not go away.
    base: Vec<Item>,
    born: bool,
    batches: Vec<Submitted>,
    /// How long the trace was when a prune was finished, and how many entries had gone then.
    prunes: Vec<(usize, usize)>,
    /// A sync has said `Ok` and was lost: nothing is demanded of this opening.
    lied: bool,
    /// The same, in this opening or an earlier one: a refusal is in order from then on.
    may_refuse: bool,
}

/// The client's journal.
#[derive(Debug, Clone)]
pub struct Journal {
    phases: Vec<Phase>,
}

/// What a state must be.
#[derive(Debug, Clone)]
pub struct Want {
    /// Everything that may be there, in order.
    pub items: Vec<Item>,
    /// How many of these must be there.
    pub acked: usize,
    /// So many must have gone: a prune of them was acknowledged.
    pub gone: usize,
    /// Whether there must be a ledger at all.
    pub born: bool,
    pub may_refuse: bool,
}

impl Want {
    pub fn key(&self) -> (usize, usize, usize, bool) {
        (self.acked, self.items.len(), self.gone, self.born)
    }

    /// Whether `gone` may be missing at the beginning of a ledger with the first `kept` of these. Who opens it for writing
    /// finishes what is told in the log, and undoes what is not; who reads it may come in between.
    pub fn may_be_gone(&self, gone: usize, kept: usize, is_writer: bool) -> bool {
        if self.may_refuse {
            return true;
        }
        let begun: Vec<usize> = self.items.iter().filter_map(|item| item.prunes).collect();
        let told = gone_before(self.items.get(..kept).unwrap_or(&self.items));
        let between = (self.gone..=told).contains(&gone) && (gone == self.gone || begun.contains(&gone));
        if is_writer { gone == told } else { between }
    }

    /// What a ledger that showed the first `n` of these must be from then on.
    pub fn shown(&self, n: usize) -> Want {
        let items = self.items[..n].to_vec();
        Want { gone: gone_before(&items), items, acked: n, born: true, may_refuse: self.may_refuse }
    }

    /// Adds the entries of a batch, which may be there.
    pub fn submit(&mut self, facts: &[Fact], at: u64) {
        let items = build(&self.items, facts, at);
        self.items.extend(items);
    }
}

/// A handle on a batch of the last phase.
#[derive(Debug, Clone, Copy)]
pub struct Ticket(usize);

fn build(before: &[Item], facts: &[Fact], at: u64) -> Vec<Item> {
    let mut beliefs: BTreeMap<String, Belief> =
        fold(before).into_iter().map(|(task, belief)| (task.to_owned(), belief.clone())).collect();
    let mut items = Vec::new();
    for (n, fact) in facts.iter().enumerate() {
        let seq = (before.len() + n + 1) as u64;
        let item = match fact.kind {
            Kind::Pruned(gone) => Item::of_prune(gone, before, at),
            _ => Item::of(fact, seq, at, beliefs.get(&fact.task), n + 1 == facts.len()),
        };
        beliefs.insert(item.task.clone(), item.after.clone());
        items.push(item);
    }
    items
}

impl Journal {
    pub fn new() -> Journal {
        Journal { phases: vec![Phase::default()] }
    }

    fn last(&mut self) -> &mut Phase {
        self.phases.last_mut().expect("there is a first phase")
    }

    /// All that may be there now, in order.
    pub fn items(&self) -> Vec<Item> {
        self.want(usize::MAX).items
    }

    pub fn submit(&mut self, facts: &[Fact], at: u64, trace_len: usize) -> Ticket {
        let items = build(&self.items(), facts, at);
        let phase = self.last();
        phase.batches.push(Submitted {
            items,
            submitted_at: trace_len,
            acked_at: None,
            written: false,
            withdrawn: false,
        });
        Ticket(phase.batches.len() - 1)
    }

    pub fn acknowledge(&mut self, ticket: Ticket, trace_len: usize) {
        self.last().batches[ticket.0].acked_at = Some(trace_len);
    }

    /// An append has returned that waits for the write only.
    pub fn written(&mut self, ticket: Ticket) {
        self.last().batches[ticket.0].written = true;
    }

    /// The append said that nothing was changed.
    pub fn withdraw(&mut self, ticket: Ticket) {
        self.last().batches[ticket.0].withdrawn = true;
    }

    /// All that was told to go has gone.
    pub fn pruned(&mut self, trace_len: usize) {
        let gone = gone_before(&self.items());
        self.last().prunes.push((trace_len, gone));
    }

    /// Opening returned, and showed the first `n` of what may be there.
    pub fn opened(&mut self, n: usize, trace_len: usize) {
        let (base, may_refuse) = (self.items()[..n].to_vec(), self.last().may_refuse);
        let prunes = vec![(trace_len, gone_before(&base))];
        let batches = Vec::new();
        self.phases.push(Phase { start: trace_len, base, born: true, batches, prunes, lied: false, may_refuse });
    }

    /// A sync is going to say `Ok` though it is lost: less is demanded, until the ledger is opened anew.
    pub fn lied(&mut self) {
        self.last().lied = true;
        self.last().may_refuse = true;
    }

    /// How long the trace was when the first opening returned: what came before is creation.
    pub fn created_at(&self) -> usize {
        self.phases.iter().find(|phase| phase.born).map_or(0, |phase| phase.start)
    }

    /// The power has failed: the world begins anew with an empty trace, and what was only written need not be there.
    pub fn rebase(&mut self) {
        let mut phase = self.phases.pop().expect("there is a first phase");
        phase.start = 0;
        phase.prunes.iter_mut().for_each(|(finished_at, _)| *finished_at = 0);
        for batch in &mut phase.batches {
            batch.submitted_at = 0;
            batch.acked_at = batch.acked_at.map(|_| 0);
            batch.written = false;
        }
        self.phases = vec![phase];
    }

    /// What must be there where the process is killed now, and the power stays on.
    pub fn want_after_kill(&self) -> Want {
        let mut want = self.want(usize::MAX);
        let phase = self.phases.last().expect("there is a first phase");
        let mut there = phase.base.len();
        for batch in phase.batches.iter().filter(|batch| !batch.withdrawn) {
            there += batch.items.len();
            if batch.written {
                want.acked = want.acked.max(there);
            }
        }
        want
    }

    /// What a state must be where the crash came after the first `at` operations.
    pub fn want(&self, at: usize) -> Want {
        let phase = self.phases.iter().rev().find(|phase| phase.start <= at).expect("the first phase starts at 0");
        let finished = phase.prunes.iter().rev().find(|(finished_at, _)| *finished_at <= at);
        let mut want = Want {
            items: phase.base.clone(),
            acked: phase.base.len(),
            gone: finished.map_or(0, |(_, gone)| *gone),
            born: phase.born,
            may_refuse: phase.may_refuse,
        };
        for batch in phase.batches.iter().filter(|batch| !batch.withdrawn && batch.submitted_at <= at) {
            want.items.extend(batch.items.iter().cloned());
            if batch.acked_at.is_some_and(|acked_at| acked_at <= at) {
                want.acked = want.items.len();
            }
        }
        if phase.lied {
            want.acked = 0;
        }
        want
    }
}

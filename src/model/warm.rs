//! `Warm`: the slots that were looked at or changed last, in bounded memory, wherever their last entries are.
//!
//! Invariant: what is held of a task or note is what was put last. So whoever keeps one puts in all that changes.
//!
//! Two generations: the young one takes what is put and what is found in the old one; when it has half of the memory it becomes
//! the old one, and what only the one before had is forgotten. What both have, the young one is right about.

use std::collections::HashMap;

use crate::model::layer::Held;
use crate::model::slot::{Live, Slot};
use crate::model::subject::Realm;

/// What a slot takes beside its texts, roughly, in bytes: itself, two counts, its place in a map that is half full.
const SLOT_BYTES: usize = 350;
/// The same of a keyed event.
const KEYED_BYTES: usize = 100;

/// Slots that were used lately.
#[derive(Debug)]
pub(crate) struct Warm {
    /// By hash; of two subjects with the same hash the one that was put last.
    young: HashMap<u64, Held>,
    old: HashMap<u64, Held>,
    /// What the young generation takes, roughly.
    bytes: usize,
    bytes_max: usize,
}

impl Warm {
    /// An empty one that takes so many bytes, roughly.
    pub(crate) fn new(bytes: usize) -> Warm {
        Warm { young: HashMap::new(), old: HashMap::new(), bytes: 0, bytes_max: bytes / 2 }
    }

    /// What was put last of a task or note, unless it is forgotten.
    pub(crate) fn get(&mut self, hash: u64, realm: Realm, key: &str) -> Option<Held> {
        if !self.young.contains_key(&hash) {
            let held = self.old.remove(&hash)?;
            self.put(held);
        }
        let of_hash = self.young.get(&hash).or_else(|| self.old.get(&hash));
        of_hash.filter(|held| held.is(realm, key)).cloned()
    }

    /// Puts a task or note in, or in the place of what was known of it.
    pub(crate) fn put(&mut self, held: Held) {
        self.bytes += bytes_of(&held);
        if let Some(before) = self.young.insert(held.hash, held) {
            self.bytes -= bytes_of(&before);
        }
        if self.bytes > self.bytes_max {
            (self.old, self.bytes) = (std::mem::take(&mut self.young), 0);
        }
    }
}

fn bytes_of(held: &Held) -> usize {
    let Slot { live, actor, keys, .. } = &*held.slot;
    let text = |text: Option<&str>| text.map_or(0, str::len);
    let live = match live {
        None => 0,
        Some(Live::Value(value)) => value.as_str().len(),
        Some(Live::Record(record)) => {
            let metadata = record.metadata.iter().map(|(key, value)| 48 + key.len() + value.len()).sum::<usize>();
            text(record.output.as_ref().map(|output| output.as_str())) + text(record.error.as_deref()) + metadata
        }
    };
    let keys = keys.iter().map(|keyed| KEYED_BYTES + keyed.key.len()).sum::<usize>();
    SLOT_BYTES + held.key.len() + live + text(actor.as_deref()) + keys
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::json::Json;
    use crate::model::seq::Seq;

    fn held(hash: u64, key: &str, seq: u64, text: &str) -> Held {
        let live = Some(Live::Value(Json::unchecked(text)));
        let slot = Slot { live, version: 1, seq: Seq(seq), at: 0, actor: None, keys: Arc::default() };
        Held { hash, realm: Realm::Notes, key: Arc::from(key), slot: Arc::new(slot) }
    }

    fn seq(warm: &mut Warm, hash: u64, key: &str) -> Option<u64> {
        warm.get(hash, Realm::Notes, key).map(|held| held.slot.seq.0)
    }

    #[test]
    fn what_was_put_last_is_there_or_nothing_is() {
        let mut warm = Warm::new(40 * (SLOT_BYTES + 10));
        let mut last = HashMap::new();
        for n in 1..=10_000_u64 {
            // Some come again soon, some late, and three keys share each of the hashes.
            let of = (n * n) % 97;
            let key = format!("k{of}");
            warm.put(held(of / 3, &key, n, "1"));
            last.insert(of, n);
            let asked = (n * 7) % 97;
            let found = seq(&mut warm, asked / 3, &format!("k{asked}"));
            assert!(found.is_none() || found == last.get(&asked).copied(), "{asked} after {n}: {found:?}");
            assert_eq!(seq(&mut warm, of / 3, &key), Some(n), "it was put just now");
        }
        assert!(warm.get(0, Realm::Tasks, "k0").is_none(), "a note is no task");
    }

    #[test]
    fn what_is_used_stays_and_memory_is_bounded() {
        let mut warm = Warm::new(1 << 20);
        let text = format!("{:?}", "x".repeat(10_000));
        for n in 0..1000 {
            warm.put(held(n, "a", n, &text));
            assert_eq!(seq(&mut warm, 7.min(n), "a"), Some(7.min(n)), "it is asked for again and again");
            let all = warm.young.values().chain(warm.old.values());
            let bytes: usize = all.map(bytes_of).sum();
            assert!(bytes <= (1 << 20) + 11_000, "{bytes} after {n}");
            assert_eq!(warm.bytes, warm.young.values().map(bytes_of).sum::<usize>());
        }
        assert_eq!(seq(&mut warm, 8, "a"), None, "it was forgotten");
        assert_eq!(seq(&mut warm, 999, "a"), Some(999));
    }

    #[test]
    fn without_memory_it_forgets_what_is_put_next() {
        let mut warm = Warm::new(0);
        warm.put(held(1, "a", 1, "1"));
        warm.put(held(2, "a", 2, "1"));
        assert_eq!(seq(&mut warm, 1, "a"), None);
    }
}

//! `Warm`: the slots that were looked at or changed last, in bounded memory, wherever their last entries are.
//!
//! Invariant: what is held of a task or note is what was put last. So whoever keeps one puts in all that changes.
//!
//! Which of them goes for another is quick_cache's to say: a CLOCK-Pro (Jiang and others, USENIX ATC 2005) that counts uses as
//! S3-FIFO does (Yang and others, "FIFO queues are all you need for cache eviction", SOSP 2023). On average one goes for one
//! that comes.

use std::hash::RandomState;

use quick_cache::unsync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};

use crate::model::layer::Held;
use crate::model::slot::{Live, Slot};
use crate::model::subject::Realm;

/// What a slot takes beside its texts, roughly, in bytes: itself, two counts, its place in a list and in a table that finds it.
const SLOT_BYTES: usize = 350;
/// The same of a keyed event.
const KEYED_BYTES: usize = 100;

/// Slots that were used lately.
#[derive(Debug)]
pub(crate) struct Warm {
    /// By hash; of two subjects with the same hash the one that was put last.
    slots: Cache<u64, Weighed, AsPut, RandomState>,
}

/// A slot, and what it takes, roughly, in bytes. It is kept beside it so that nobody looks into one that is cold.
#[derive(Debug, Clone)]
struct Weighed {
    held: Held,
    bytes: usize,
}

/// Says what was found when it was put in.
#[derive(Debug, Clone)]
struct AsPut;

impl Weighter<u64, Weighed> for AsPut {
    fn weight(&self, _: &u64, slot: &Weighed) -> u64 {
        slot.bytes as u64
    }
}

impl Warm {
    /// An empty one that takes so many bytes, roughly.
    pub(crate) fn new(bytes: u64) -> Warm {
        let options = OptionsBuilder::new()
            .weight_capacity(bytes)
            // Of half as many that have gone it is known that they were here. Memory is taken only as it fills.
            .estimated_items_capacity(usize::try_from(bytes).unwrap_or(usize::MAX) / SLOT_BYTES)
            .build()
            .expect("both are said");
        Warm { slots: Cache::with_options(options, AsPut, RandomState::new(), DefaultLifecycle::default()) }
    }

    /// What was put last of a task or note, unless it is forgotten.
    pub(crate) fn get(&self, hash: u64, realm: Realm, key: &str) -> Option<Held> {
        let slot = self.slots.get(&hash)?;
        slot.held.is(realm, key).then(|| slot.held.clone())
    }

    /// Puts a task or note in, or in the place of what was known of it.
    pub(crate) fn put(&mut self, held: Held) {
        let (hash, bytes) = (held.hash, bytes_of(&held));
        // One that is too large is not taken, and takes the place of the one before all the same.
        self.slots.insert(hash, Weighed { held, bytes });
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
    use std::collections::HashMap;
    use std::sync::Arc;

    use super::*;
    use crate::model::json::Json;
    use crate::model::seq::Seq;

    fn held(hash: u64, key: &str, seq: u64, text: &str) -> Held {
        let live = Some(Live::Value(Json::unchecked(text)));
        let slot = Slot { live, version: 1, seq: Seq(seq), at: 0, actor: None, keys: Arc::default() };
        Held { hash, realm: Realm::Notes, key: Arc::from(key), slot: Arc::new(slot) }
    }

    fn seq(warm: &Warm, hash: u64, key: &str) -> Option<u64> {
        warm.get(hash, Realm::Notes, key).map(|held| held.slot.seq.0)
    }

    #[test]
    fn what_was_put_last_is_there_or_nothing_is() {
        let mut warm = Warm::new(40 * (SLOT_BYTES as u64 + 10));
        let mut last = HashMap::new();
        for n in 1..=10_000_u64 {
            // Some come again soon, some late, and three keys share each of the hashes.
            let of = (n * n) % 97;
            let key = format!("k{of}");
            warm.put(held(of / 3, &key, n, "1"));
            last.insert(of, n);
            let asked = (n * 7) % 97;
            let found = seq(&warm, asked / 3, &format!("k{asked}"));
            assert!(found.is_none() || found == last.get(&asked).copied(), "{asked} after {n}: {found:?}");
            assert_eq!(seq(&warm, of / 3, &key), Some(n), "it was put just now");
        }
        assert!(warm.get(0, Realm::Tasks, "k0").is_none(), "a note is no task");
    }

    #[test]
    fn what_is_used_stays_and_memory_is_bounded() {
        let mut warm = Warm::new(1 << 20);
        let text = format!("{:?}", "x".repeat(10_000));
        for n in 0..1000 {
            warm.put(held(n, "a", n, &text));
            assert_eq!(seq(&warm, 7.min(n), "a"), Some(7.min(n)), "it is asked for again and again");
            let bytes: usize = warm.slots.iter().map(|(_, slot)| bytes_of(&slot.held)).sum();
            assert!(bytes <= 1 << 20, "{bytes} after {n}");
            assert_eq!(warm.slots.weight(), bytes as u64);
        }
        let kept = (0..1000).filter(|&n| seq(&warm, n, "a").is_some()).count();
        assert!((90..110).contains(&kept), "{kept} of 10 KB each in a megabyte");
    }

    #[test]
    fn what_is_too_large_takes_the_place_of_what_was_there_and_is_not_kept() {
        let mut warm = Warm::new(1 << 20);
        warm.put(held(1, "a", 1, "1"));
        warm.put(held(2, "b", 2, "1"));
        warm.put(held(1, "a", 3, &format!("{:?}", "x".repeat(2 << 20))));
        assert_eq!(seq(&warm, 1, "a"), None, "an older one is wrong by now");
        assert_eq!(seq(&warm, 2, "b"), Some(2));
    }

    #[test]
    fn without_memory_it_forgets_what_is_put_next() {
        let mut warm = Warm::new(0);
        warm.put(held(1, "a", 1, "1"));
        warm.put(held(2, "a", 2, "1"));
        assert_eq!(seq(&warm, 1, "a"), None);
    }

    #[test]
    fn as_much_as_can_be_said_takes_no_memory_before_there_is_something() {
        let mut warm = Warm::new(u64::MAX);
        warm.put(held(1, "a", 1, "1"));
        assert_eq!(seq(&warm, 1, "a"), Some(1));
    }
}

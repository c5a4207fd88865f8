//! `Layer`: what some entries have made of the tasks and notes that they touched, in memory.
//!
//! Ordered by hash, as tables are (storage/table). A copy costs little however much is in it: it shares what the other has
//! not changed since.

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::model::slot::Slot;
use crate::model::subject::Realm;

/// A copy of this many parts is cheap, and so is one of the parts, which is made where the other has it, too.
const SHARDS: usize = 256;

/// Those of one hash: hardly ever more than one, which needs no memory of its own.
type Same = SmallVec<[Held; 1]>;

/// One task or note of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub hash: u64,
    pub realm: Realm,
    pub key: Arc<str>,
    pub slot: Arc<Slot>,
}

/// The tasks and notes that some entries touched.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layer {
    /// By the highest byte of the hash, all of them or, where nothing was put in, none; those of one hash by realm and key.
    shards: Vec<Arc<BTreeMap<u64, Same>>>,
}

impl Held {
    /// The order of tasks and notes.
    pub(crate) fn place(&self) -> (u64, Realm, &str) {
        (self.hash, self.realm, &self.key)
    }

    /// Whether it is of this task or note.
    pub(crate) fn is(&self, realm: Realm, key: &str) -> bool {
        self.realm == realm && *self.key == *key
    }
}

impl Layer {
    pub(crate) fn get(&self, hash: u64, realm: Realm, key: &str) -> Option<&Held> {
        self.of(hash).iter().find(|held| held.is(realm, key))
    }

    /// Puts a task or note in, or in the place of what was known of it.
    pub(crate) fn put(&mut self, new: Held) {
        if self.shards.is_empty() {
            self.shards = vec![Arc::default(); SHARDS];
        }
        let shard = self.shards.get_mut(shard_of(new.hash)).expect("there is a shard for each byte");
        let same = Arc::make_mut(shard).entry(new.hash).or_default();
        match same.binary_search_by(|held| held.place().cmp(&new.place())) {
            Ok(n) => {
                if let Some(held) = same.get_mut(n) {
                    *held = new;
                }
            }
            Err(n) => same.insert(n, new),
        }
    }

    /// A task or note of it, to be changed in its place.
    pub(crate) fn get_mut(&mut self, hash: u64, realm: Realm, key: &str) -> Option<&mut Held> {
        let same = Arc::make_mut(self.shards.get_mut(shard_of(hash))?).get_mut(&hash)?;
        same.iter_mut().find(|held| held.is(realm, key))
    }

    /// All of a hash, in order.
    pub(crate) fn of(&self, hash: u64) -> &[Held] {
        self.shards.get(shard_of(hash)).and_then(|shard| shard.get(&hash)).map_or(&[], SmallVec::as_slice)
    }

    /// All from a hash on, in order.
    pub(crate) fn from(&self, hash: u64) -> impl Iterator<Item = &Held> {
        let shards = self.shards.get(shard_of(hash)..).unwrap_or_default();
        shards.iter().flat_map(move |shard| shard.range(hash..)).flat_map(|(_, same)| same)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.is_empty())
    }
}

fn shard_of(hash: u64) -> usize {
    (hash >> 56) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::seq::Seq;

    fn held(hash: u64, realm: Realm, key: &str, seq: u64) -> Held {
        let slot = Slot { live: None, version: 1, seq: Seq(seq), at: 0, actor: None, keys: Arc::default() };
        Held { hash, realm, key: Arc::from(key), slot: Arc::new(slot) }
    }

    #[test]
    fn what_was_put_last_is_there_in_order_and_copies_stay_as_they_are() {
        let mut layer = Layer::default();
        assert!(layer.is_empty());
        let hashes = [u64::MAX, 5 << 56, 0, 7, 5 << 56];
        for (seq, hash) in (1..).zip(hashes) {
            for realm in [Realm::Notes, Realm::Tasks] {
                layer.put(held(hash, realm, "b", seq));
                layer.put(held(hash, realm, "a", seq));
            }
        }
        let copy = layer.clone();
        layer.put(held(7, Realm::Tasks, "a", 99));
        let seq = |layer: &Layer, hash, realm, key| layer.get(hash, realm, key).map(|held| held.slot.seq.0);
        assert_eq!(seq(&layer, 7, Realm::Tasks, "a"), Some(99));
        assert_eq!(seq(&copy, 7, Realm::Tasks, "a"), Some(4), "a copy does not change with the other");
        assert_eq!(seq(&layer, 5 << 56, Realm::Notes, "b"), Some(5), "the last counts");
        assert_eq!(seq(&layer, 8, Realm::Tasks, "a"), None);
        let places: Vec<_> = layer.from(0).map(Held::place).collect();
        assert_eq!(places.len(), 16, "four hashes, two realms, two keys");
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!(layer.from(8).count(), 8);
        assert_eq!(layer.from(u64::MAX).count(), 4);
    }
}

//! What was encoded is decoded, and never takes more than was reserved for it.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::model::entry::Entry;
use crate::model::event::{Change, Event, EventKind, Times};
use crate::model::json::Json;
use crate::model::seq::Seq;
use crate::model::state::TaskState;
use crate::model::subject::Realm;
use crate::storage::codec::columns::{COLUMNS_BYTES_MAX, Columns, Links, Named, Stored, event_bytes_max};
use crate::storage::codec::decode::{decode, decode_one};
use crate::storage::codec::walk::BadBody;

const FIRST: u64 = 1 << 33;

fn change<T: Clone + std::fmt::Debug + 'static>(
    values: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Change<T>> {
    prop_oneof![Just(Change::Keep), Just(Change::Clear), values.prop_map(Change::Set)].boxed()
}

fn state() -> impl Strategy<Value = TaskState> {
    proptest::sample::select(TaskState::ALL.to_vec())
}

fn times() -> impl Strategy<Value = Times> {
    (any::<Option<u64>>(), any::<Option<u64>>(), change(any::<u64>()), change(any::<u64>()))
        .prop_map(|(created, updated, started, finished)| Times { created, updated, started, finished })
}

fn event() -> impl Strategy<Value = Event> {
    let kind = proptest::sample::select(EventKind::ALL.to_vec());
    let output = proptest::sample::select(vec!["1", "\"a\"", "[1,{\"b\":null}]", "1e-7"]);
    let metadata = proptest::collection::btree_map("[a-c]{1,3}", proptest::option::of("[a-z]{0,9}"), 0..4);
    let context = (
        proptest::option::of("[a-z]{1,9}"),
        proptest::option::of(".{0,9}"),
        proptest::option::of(1..FIRST),
        proptest::option::of("[a-z]{1,9}"),
    );
    let fields = (any::<Option<u32>>(), change(output), change(".{0,20}"), metadata, times());
    (kind, proptest::option::of(state()), any::<bool>(), fields, context).prop_map(
        |(kind, to, inferred, (attempts, output, error, metadata, times), (actor, reason, cause, key))| Event {
            inferred,
            attempts,
            output: match output {
                Change::Keep => Change::Keep,
                Change::Clear => Change::Clear,
                Change::Set(text) => Change::Set(Json::unchecked(text)),
            },
            error,
            metadata,
            times,
            actor,
            reason,
            cause: cause.map(Seq),
            key,
            ..Event::new(kind, to)
        },
    )
}

/// Version, time since the entry before, said time, earlier state, how its task is named, back, key back, digest.
type Place = (u64, u64, Option<u64>, Option<TaskState>, Option<u32>, u64, u64, u64, bool);

fn place() -> impl Strategy<Value = Place> {
    (
        prop_oneof![1_u64..3, any::<u64>().prop_map(|version| version.max(1))],
        0_u64..1 << 20,
        any::<Option<u64>>(),
        proptest::option::of(state()),
        any::<Option<u32>>(),
        1..FIRST,
        0..FIRST,
        any::<u64>(),
        any::<bool>(),
    )
}

/// What an event is about. A removal is one of a task or of a note, as the digest falls.
fn realm_of(kind: EventKind, digest: u64) -> Realm {
    match kind {
        EventKind::Noted => Realm::Notes,
        EventKind::Removed if digest.is_multiple_of(2) => Realm::Notes,
        _ => Realm::Tasks,
    }
}

/// The event with what a note may have only.
fn of_note(event: Event) -> Event {
    let value = (event.kind == EventKind::Noted).then(|| Json::unchecked("{\"tries\": [3, null]}"));
    let Event { kind, actor, reason, cause, key, .. } = event;
    Event { value, actor, reason, cause, key, ..Event::new(kind, None) }
}

fn stored(seq: u64, at: u64, event: Event, place: Place) -> Stored {
    let (version, _, said, from, number, back, key_back, digest, last_of_batch) = place;
    let control = event.kind.is_control();
    let realm = realm_of(event.kind, digest);
    let (from, event) = if realm == Realm::Notes { (None, of_note(event)) } else { (from, event) };
    let named = match number {
        _ if control => Named::Control,
        Some(number) => Named::Known(realm, number),
        None => Named::New(realm, Arc::from(format!("task-{seq}"))),
    };
    let version = (!control).then_some(version);
    let keyed = event.key.is_some();
    let links = Links {
        back: if version.is_some_and(|version| version > 1) { Seq(back) } else { Seq::ZERO },
        key_back: if keyed { Seq(key_back) } else { Seq::ZERO },
        digest: keyed.then_some(digest),
        last_of_batch,
    };
    Stored { entry: Entry { seq: Seq(seq), task: None, note: None, version, at, said, from, event }, named, links }
}

fn decode_all(bytes: &[u8], first: Seq, at: u64, count: u16) -> Result<Vec<Stored>, BadBody> {
    let mut events = Vec::new();
    decode(bytes, first, at, count, &mut |stored| {
        events.push(stored);
        Ok(())
    })?;
    Ok(events)
}

proptest! {
    #![proptest_config(ProptestConfig {
        // Miri takes a second for each.
        cases: if cfg!(miri) { 8 } else { 2000 },
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x7a5c_1ed6),
        ..ProptestConfig::default()
    })]

    #[cfg_attr(miri, ignore = "making random texts takes minutes")]
    #[test]
    fn what_was_encoded_is_decoded_within_the_room_reserved(
        events in proptest::collection::vec((event(), place()), 1..20)
    ) {
        let mut at = 1_000_000;
        let first_at = at + events.first().map_or(0, |(_, place)| place.1);
        let mut columns = Columns::default();
        let (mut expected, mut reserved) = (Vec::new(), COLUMNS_BYTES_MAX);
        for (n, (event, place)) in events.into_iter().enumerate() {
            at += place.1;
            let seq = FIRST + n as u64;
            let stored = stored(seq, at, event, place);
            reserved += event_bytes_max(&format!("task-{seq}"), &stored.entry.event);
            columns.push(&stored.entry, &stored.named, &stored.links);
            expected.push(stored);
        }
        let mut bytes = Vec::new();
        columns.finish(&mut bytes);
        prop_assert!(bytes.len() <= reserved, "{} bytes, {reserved} reserved", bytes.len());
        let decoded = decode_all(&bytes, Seq(FIRST), first_at, u16::try_from(expected.len()).unwrap());
        prop_assert_eq!(decoded.as_ref(), Ok(&expected));
        // One of them alone is the same one.
        let count = u16::try_from(expected.len()).unwrap();
        let ends_batch = expected.last().is_some_and(|last| last.links.last_of_batch);
        for n in 0..=expected.len() {
            let one = decode_one(&bytes, Seq(FIRST), first_at, count, Seq(FIRST + n as u64)).unwrap();
            prop_assert_eq!(one.event.as_ref(), expected.get(n));
            prop_assert_eq!(one.ends_batch, ends_batch);
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), count in 0_u16..20) {
        let all = decode_all(&bytes, Seq(FIRST), 0, count);
        let one = decode_one(&bytes, Seq(FIRST), 0, count, Seq(FIRST));
        prop_assert!(all.is_err() || one.is_ok(), "{:?}", one);
    }
}

//! What an index or a snapshot keeps of one task or note.
//!
//! Times are differences to the time of its last entry, so that most of them are short. Byte layout in docs/format.md.
//! Invariant: what is decoded is within the limits that bind writers, or it is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use bincode::{Decode, Encode};

use crate::model::fold::Folded;
use crate::model::json::Json;
use crate::model::limits::{KEY_WINDOW, META_KEYS_MAX};
use crate::model::seq::Seq;
use crate::model::slot::{Keyed, Live, Slot};
use crate::model::state::TaskState;
use crate::storage::codec::bodies;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct SlotBody {
    pub version: u64,
    pub seq: u64,
    pub at: u64,
    pub actor: Option<String>,
    pub live: LiveBody,
    /// The latest keyed events, oldest first.
    pub keys: Vec<KeyBody>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) enum LiveBody {
    Gone,
    Record(RecordBody),
    Value(String),
}

/// A record; its times are less the time of the last entry.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct RecordBody {
    pub state: u8,
    pub attempts: u32,
    pub created: i64,
    pub updated: i64,
    pub started: Option<i64>,
    pub finished: Option<i64>,
    pub output: Option<String>,
    pub error: Option<String>,
    /// By key.
    pub metadata: Vec<(String, String)>,
}

/// A keyed event; seqs, version and time are how much less they are than those of the last entry.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct KeyBody {
    pub key: String,
    pub digest: u64,
    pub seq: u64,
    pub version: u64,
    pub at: u64,
    pub batch: u64,
    pub alone: bool,
    pub epoch: u32,
}

/// The bytes of a slot.
pub(crate) fn encode(slot: &Slot) -> Vec<u8> {
    bodies::encode(&SlotBody {
        version: slot.version,
        seq: slot.seq.0,
        at: slot.at,
        actor: slot.actor.as_deref().map(str::to_owned),
        live: match &slot.live {
            None => LiveBody::Gone,
            Some(Live::Record(record)) => LiveBody::Record(record_body(record, slot.at)),
            Some(Live::Value(value)) => LiveBody::Value(value.as_str().to_owned()),
        },
        keys: slot.keys.iter().map(|keyed| key_body(keyed, slot)).collect(),
    })
}

fn record_body(record: &Folded, at: u64) -> RecordBody {
    let since = |time: u64| time.wrapping_sub(at).cast_signed();
    RecordBody {
        state: record.state.number(),
        attempts: record.attempts,
        created: since(record.created_at),
        updated: since(record.updated_at),
        started: record.started_at.map(since),
        finished: record.finished_at.map(since),
        output: record.output.as_ref().map(|output| output.as_str().to_owned()),
        error: record.error.as_deref().map(str::to_owned),
        metadata: record.metadata.to_vec(),
    }
}

fn key_body(keyed: &Keyed, slot: &Slot) -> KeyBody {
    KeyBody {
        key: (*keyed.key).to_owned(),
        digest: keyed.digest,
        seq: slot.seq.0 - keyed.seq.0,
        version: slot.version - keyed.version,
        at: slot.at - keyed.at,
        batch: slot.seq.0 - keyed.batch.0,
        alone: keyed.alone,
        epoch: keyed.epoch,
    }
}

/// The slot that was encoded.
///
/// # Errors
/// What is wrong with the bytes.
pub(crate) fn decode(bytes: &[u8]) -> Result<Slot, String> {
    let body: SlotBody = bodies::decode(bytes)?;
    if body.version == 0 || body.seq < body.version {
        return Err("its version and its seq do not fit".to_owned());
    }
    if body.keys.len() > KEY_WINDOW {
        return Err(format!("it has {} keys", body.keys.len()));
    }
    let live = match body.live {
        LiveBody::Gone => None,
        LiveBody::Record(record) => Some(Live::Record(record_of(record, body.at)?)),
        LiveBody::Value(text) => Some(Live::Value(Json::unchecked(&text))),
    };
    let mut slot = Slot {
        live,
        version: body.version,
        seq: Seq(body.seq),
        at: body.at,
        actor: body.actor.map(Arc::from),
        keys: Arc::default(),
    };
    let keys = body.keys.into_iter().map(|keyed| key_of(keyed, &slot)).collect::<Option<Arc<[_]>>>();
    slot.keys = keys.ok_or("a key of it lies before everything")?;
    Ok(slot)
}

fn record_of(body: RecordBody, at: u64) -> Result<Folded, String> {
    let time = |since: i64| at.wrapping_add(since.cast_unsigned());
    let keys = body.metadata.len();
    let metadata: BTreeMap<String, String> = body.metadata.into_iter().collect();
    if metadata.len() != keys || keys > META_KEYS_MAX {
        return Err(format!("its {keys} metadata keys are too many, or repeat"));
    }
    Ok(Folded {
        state: TaskState::from_number(body.state).ok_or_else(|| format!("its state {} is unknown", body.state))?,
        attempts: body.attempts,
        created_at: time(body.created),
        updated_at: time(body.updated),
        started_at: body.started.map(time),
        finished_at: body.finished.map(time),
        output: body.output.as_deref().map(Json::unchecked),
        error: body.error.map(Arc::from),
        metadata: metadata.into_iter().collect(),
    })
}

fn key_of(body: KeyBody, slot: &Slot) -> Option<Keyed> {
    Some(Keyed {
        key: Arc::from(body.key),
        digest: body.digest,
        seq: Seq(slot.seq.0.checked_sub(body.seq).filter(|&seq| seq > 0)?),
        version: slot.version.checked_sub(body.version).filter(|&version| version > 0)?,
        at: slot.at.checked_sub(body.at)?,
        batch: Seq(slot.seq.0.checked_sub(body.batch).filter(|&seq| seq > 0)?),
        alone: body.alone,
        epoch: body.epoch,
    })
}

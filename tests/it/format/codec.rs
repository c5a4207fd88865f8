//! A second codec: wincode, which is maintained, reads the bodies that bincode wrote, and writes the same bytes.
//!
//! The structs mirror those of src/storage/codec/columns.rs, field by field.

use wincode::config::{Config, Configuration, deserialize_exact, serialize};
use wincode::{SchemaRead, SchemaWrite};

use super::bytes::frames;
use super::golden::committed;

/// All columns of one frame.
#[derive(Debug, Clone, Default, PartialEq, SchemaRead, SchemaWrite)]
pub struct Body {
    pub heads: Vec<u8>,
    pub moves: Vec<u8>,
    pub flags: Vec<u16>,
    pub numbers: Vec<u32>,
    pub ids: Vec<String>,
    pub versions: Vec<u64>,
    pub backs: Vec<u64>,
    pub times: Vec<u64>,
    pub saids: Vec<i64>,
    pub attempts: Vec<u32>,
    pub outputs: Vec<String>,
    pub errors: Vec<String>,
    pub words: Vec<String>,
    pub actors: Vec<u32>,
    pub reasons: Vec<u32>,
    pub metas: Vec<u16>,
    pub meta_keys: Vec<u32>,
    pub meta_values: Vec<u32>,
    pub rare: Option<Rare>,
}

/// The columns that most frames do not need.
#[derive(Debug, Clone, Default, PartialEq, SchemaRead, SchemaWrite)]
pub struct Rare {
    pub causes: Vec<u64>,
    pub keys: Vec<String>,
    pub key_backs: Vec<u64>,
    pub digests: Vec<u64>,
    pub time_masks: Vec<u8>,
    pub time_stamps: Vec<i64>,
    pub extras: Vec<(u16, u16, Vec<u8>)>,
}

/// What bincode calls its standard configuration.
fn standard() -> impl Config {
    Configuration::default().with_varint_encoding().with_preallocation_size_limit::<{ 64 << 20 }>()
}

pub fn encode(body: &Body) -> Vec<u8> {
    serialize(body, standard()).expect("columns always encode")
}

pub fn decode(bytes: &[u8]) -> Body {
    deserialize_exact(bytes, standard()).expect("a golden body decodes")
}

#[test]
fn a_second_codec_reads_and_writes_the_golden_bodies() {
    let mut bodies = 0;
    let mut all = Body::default();
    let mut rare = Rare::default();
    for (name, segment) in committed().iter().filter(|(name, _)| name.ends_with(".log")) {
        for frame in frames(segment).into_iter().filter(|frame| frame.has_events()) {
            let body = decode(&frame.body);
            assert_eq!(encode(&body), frame.body, "{name}, byte {}", frame.offset);
            assert_eq!(body.heads.len(), usize::from(frame.events));
            bodies += 1;
            all.saids.extend(body.saids);
            all.meta_keys.extend(body.meta_keys);
            rare.time_stamps.extend(body.rare.unwrap_or_default().time_stamps);
        }
    }
    assert!(bodies > 50, "{bodies} bodies");
    assert!(all.saids.contains(&-126) && all.saids.contains(&126) && all.meta_keys.contains(&251));
    for border in [125, 126, -126, 32_767, 32_768, -32_768, -32_769, 1 << 31, -(1 << 31)] {
        assert!(rare.time_stamps.contains(&border), "{border}: {:?}", rare.time_stamps);
    }
}

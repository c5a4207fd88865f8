//! Every bound of the system, in one place, asserted against each other.
//!
//! What is over a limit is refused at append with the limit in the message; reading checks the same limits again,
//! so that no file can make a reader allocate more than a writer could have written.

/// Longest task id, in bytes of UTF-8.
pub const TASK_ID_BYTES_MAX: usize = 1280;
/// Longest metadata key, in bytes.
pub const META_KEY_BYTES_MAX: usize = 255;
/// Longest metadata value, in bytes.
pub const META_VALUE_BYTES_MAX: usize = 64 << 10;
/// Most metadata keys that a task may have at once, and that one event may name.
pub const META_KEYS_MAX: usize = 256;
/// Longest actor, in bytes.
pub const ACTOR_BYTES_MAX: usize = 255;
/// Longest idempotency key, in bytes.
pub const KEY_BYTES_MAX: usize = 255;
/// Longest reason, in bytes.
pub const REASON_BYTES_MAX: usize = 4 << 10;
/// Longest error text, in bytes.
pub const ERROR_BYTES_MAX: usize = 64 << 10;
/// Longest output, in bytes of JSON text.
pub const OUTPUT_BYTES_MAX: usize = 8 << 20;
/// Deepest nesting of an output; `1` and `"a"` have depth 0, `[1]` has depth 1.
pub const OUTPUT_DEPTH_MAX: usize = 64;
/// Longest key of a note, in bytes of UTF-8.
pub const NOTE_KEY_BYTES_MAX: usize = 1280;
/// Longest value of a note, in bytes of JSON text.
pub const NOTE_VALUE_BYTES_MAX: usize = 12 << 20;
/// Deepest nesting of a note's value, counted as for an output: the deepest that `serde_json` parses.
pub const NOTE_DEPTH_MAX: usize = 127;
/// Most events in one batch.
pub const BATCH_EVENTS_MAX: usize = 65_535;
/// Largest batch, in bytes as reserved for its encoding.
pub const BATCH_BYTES_MAX: usize = 64 << 20;
/// A submit waits while so many bytes are placed and not yet acknowledged.
pub const UNFLUSHED_BYTES_MAX: usize = 8 << 20;
/// Latest time that an entry can hold, in milliseconds since the Unix epoch (48 bits, in the year 10889).
pub const TIME_MS_MAX: u64 = (1 << 48) - 1;
/// Highest seq that a segment may begin with; far from where sums of seqs could overflow.
pub const SEQ_MAX: u64 = 1 << 62;
/// How far ahead of the clock a stated time may lie, in milliseconds.
pub const STATED_AHEAD_MS_MAX: u64 = 5 * 60 * 1000;
/// How many of a task's latest keyed events are remembered.
pub const KEY_WINDOW: usize = 16;

/// A frame is closed once its body has about this many bytes.
pub const FRAME_BYTES_TARGET: usize = 4 << 10;
/// Largest frame, header and padding included, in bytes.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
/// Most bytes that the texts of one frame may have once each repetition is written out.
pub const FRAME_TEXT_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;
/// Smallest segment, in bytes.
pub const SEGMENT_BYTES_MIN: u64 = 16 << 10;
/// Largest segment, in bytes.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Size at which segments stop doubling unless an option says otherwise, in bytes.
pub const SEGMENT_BYTES_DEFAULT: u64 = 2 << 20;
/// Size of a young ledger's first segment unless an option says less, in bytes.
pub const SEGMENT_BYTES_YOUNG: u64 = 1 << 20;
/// Memory for tasks and notes that were used lately unless an option says else, in bytes.
pub const CACHE_BYTES_DEFAULT: u64 = 32 << 20;
/// Most events in one segment.
pub const SEGMENT_EVENTS_MAX: u64 = 256 << 10;

const _: () = {
    assert!(FRAME_BYTES_TARGET < FRAME_BYTES_MAX);
    assert!(FRAME_BYTES_MAX <= 1 << 24, "a frame's length has 24 bits");
    assert!(OUTPUT_BYTES_MAX + ERROR_BYTES_MAX + REASON_BYTES_MAX < FRAME_BYTES_MAX / 2 + FRAME_BYTES_MAX / 4);
    assert!(NOTE_VALUE_BYTES_MAX + NOTE_KEY_BYTES_MAX + REASON_BYTES_MAX < FRAME_BYTES_MAX - FRAME_BYTES_TARGET);
    assert!(BATCH_EVENTS_MAX as u64 <= SEGMENT_EVENTS_MAX, "a batch stays in one segment");
    assert!(BATCH_EVENTS_MAX <= u16::MAX as usize, "a frame counts its events in 16 bits");
    assert!((BATCH_BYTES_MAX as u64) < SEGMENT_BYTES_MAX / 2, "a batch stays in one segment");
    assert!(SEGMENT_BYTES_MIN < SEGMENT_BYTES_YOUNG && SEGMENT_BYTES_YOUNG < SEGMENT_BYTES_DEFAULT);
    assert!(SEGMENT_BYTES_DEFAULT < SEGMENT_BYTES_MAX && SEGMENT_BYTES_MAX < u32::MAX as u64);
    assert!(META_KEYS_MAX < u16::MAX as usize);
};

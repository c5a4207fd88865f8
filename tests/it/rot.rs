//! Rot of a ledger: each outcome is the truth, or the truth without an end that nothing undamaged vouches for, or a refusal
//! that says where.

pub mod judge;

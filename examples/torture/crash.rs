//! The scripts and the oracle of the tests.

#[path = "../../tests/it/crash/company.rs"]
mod company;
#[path = "../../tests/it/crash/faults.rs"]
pub mod faults;
#[path = "../../tests/it/crash/journal.rs"]
pub mod journal;
#[path = "../../tests/it/crash/oracle.rs"]
pub mod oracle;
#[path = "../../tests/it/crash/pruned.rs"]
mod pruned;
#[path = "../../tests/it/crash/script.rs"]
pub mod script;
#[path = "../../tests/it/crash/search.rs"]
pub mod search;

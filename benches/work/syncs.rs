//! How often a peer makes the disk keep what it was given, for each durable append: counted in a trace of its system calls.
//!
//! Two runs of different length are counted, and the difference divided by the difference in length, so that opening and
//! closing are no part of it. What counts is told apart: a sync of a file, a write that syncs by itself (a descriptor
//! opened so, or a flag of the call), a sync of a map, and `sync_file_range`, which does not make the device keep anything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use super::args::Settings;
use super::{Outcome, child};

const CALLS: &str = "open,openat,fsync,fdatasync,sync_file_range,msync,write,pwrite64,writev,pwritev,pwritev2";
const FEW: u64 = 100;
const MANY: u64 = 600;

/// Calls by name.
type Calls = BTreeMap<String, f64>;

/// Calls per event, or `None` where there is nothing to trace with.
pub fn per_event(peer: &str, dir: &Path, settings: &Settings) -> Outcome<Option<Calls>> {
    if !Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    let mut few = Calls::new();
    let mut calls = Calls::new();
    for (events, into) in [(FEW, &mut few), (MANY, &mut calls)] {
        let trace = dir.join("trace");
        let child = child::command(&format!("sync:{events}"), peer, dir, settings)?;
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-s", "0", "-e", "signal=none", "-e", &format!("trace={CALLS}"), "-o"]).arg(&trace);
        let output = strace.args(&child).output()?;
        if !output.status.success() {
            return Err(format!("tracing ended with {}", output.status).into());
        }
        *into = counted(&std::fs::read_to_string(&trace)?);
    }
    for (name, count) in &mut calls {
        *count = (*count - few.get(name).copied().unwrap_or(0.0)) / (MANY - FEW) as f64;
    }
    // What happens now and then, beside the appends, is no part of one.
    calls.retain(|_, count| *count > 0.05);
    Ok(Some(calls))
}

/// The calls in a trace that sync something.
fn counted(trace: &str) -> Calls {
    let mut calls = Calls::new();
    let mut syncing = BTreeSet::new();
    for line in trace.lines() {
        // `123 pwrite64(5, ...) = 200`, `123 <... fdatasync resumed>) = 0`
        let Some((_, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if call.starts_with("<...") {
            continue; // counted where it began
        }
        let Some((name, rest)) = call.split_once('(') else { continue };
        let descriptor = rest.split([',', ')', ' ']).next().unwrap_or_default();
        let mut count = |name: &str| *calls.entry(name.to_owned()).or_insert(0.0) += 1.0;
        match name {
            "open" | "openat" => {
                let opened = rest.rsplit_once("= ").map_or("", |(_, opened)| opened.trim()).to_owned();
                if rest.contains("O_SYNC") || rest.contains("O_DSYNC") {
                    syncing.insert(opened);
                } else {
                    syncing.remove(&opened);
                }
            }
            "fsync" | "fdatasync" | "msync" | "sync_file_range" => count(name),
            _ if rest.contains("RWF_DSYNC") || rest.contains("RWF_SYNC") => count("write that syncs"),
            _ if syncing.contains(descriptor) => count("write that syncs"),
            _ => {}
        }
    }
    calls
}

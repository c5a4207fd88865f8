//! The machine that is measured on: what it is, how busy it is, what a process and a directory take up.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Outcome;
use serde_json::{Value, json};

/// Processor, cores, kernel, and the file system that the directory is on.
pub fn described(dir: &Path) -> Value {
    let of = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = of("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    json!({
        "processor": model.map_or("unknown", |(_, name)| name.trim()),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": format!("{:.1} GB of memory", memory() as f64 / 1e9),
        "system": format!("{} {}", of("/proc/sys/kernel/ostype").trim(), of("/proc/sys/kernel/osrelease").trim()),
        "file_system": file_system(dir),
    })
}

/// Bytes of memory that the machine has.
pub fn memory() -> u64 {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    total.and_then(|total| total.parse::<u64>().ok()).unwrap_or(0) << 10
}

/// The type and the options of the mount that holds a directory.
fn file_system(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let holding = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (_, at, kind, options) = (words.next()?, words.next()?, words.next()?, words.next()?);
        dir.starts_with(at).then(|| (at.len(), format!("{kind} ({options})")))
    });
    holding.max_by_key(|(length, _)| *length).map_or_else(|| "unknown".to_owned(), |(_, named)| named)
}

/// The load averages of 1, 5 and 15 minutes.
pub fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// A line of this process's status, in bytes: `VmHWM` is the most memory that it had, `RssAnon` what is its own now.
pub fn status(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

/// Drops the page cache, and says whether it may. This program's own pages come back at once, so that starting it is no
/// part of what is measured.
pub fn drop_caches() -> bool {
    rustix::fs::sync();
    let dropped = fs::write("/proc/sys/vm/drop_caches", "3").is_ok();
    if let Ok(program) = std::env::current_exe() {
        let _ = read(&program);
    }
    dropped
}

fn read(path: &Path) -> Outcome<()> {
    let (mut file, mut piece) = (File::open(path)?, [0; 1 << 16]);
    while file.read(&mut piece)? > 0 {}
    Ok(())
}

/// Brings all files of a directory into the page cache.
pub fn warm(dir: &Path) -> Outcome<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            warm(&entry.path())?;
        } else {
            read(&entry.path())?;
        }
    }
    Ok(())
}

/// Whether the page cache can be dropped here.
pub fn may_drop_caches() -> bool {
    File::options().write(true).open("/proc/sys/vm/drop_caches").is_ok()
}

/// Bytes of the blocks that the files of a directory take up.
pub fn allocated(dir: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += meta.blocks() * 512;
        if meta.is_dir() {
            bytes += allocated(&entry.path())?;
        }
    }
    Ok(bytes)
}

/// A copy of a directory.
pub fn copy(from: &Path, to: &Path) -> Outcome<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

//! The files of a ledger's directory by name and bytes, and what may have become of them.
//!
//! `lock` and `live` say who writes; the facts are in `LEDGER` and under `log/`, and only those must stay.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

/// What stands under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Dir,
    File(Vec<u8>),
    /// Something that is not opened: a link with where it leads, or what else it is.
    Other(String),
}

/// Files by their name below the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files(BTreeMap<String, Item>);

impl Files {
    /// Everything below a directory; nothing where there is none. No link is followed.
    pub fn all(dir: &Path) -> Files {
        let mut found = BTreeMap::new();
        walk(dir, "", &mut found);
        Files(found)
    }

    /// `LEDGER` and everything under `log/`.
    pub fn log(dir: &Path) -> Files {
        let Files(mut all) = Files::all(dir);
        all.retain(|name, _| name == "LEDGER" || name == "log" || name.starts_with("log/"));
        Files(all)
    }

    /// The names, in order.
    pub fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// Demands that every byte is as before.
    pub fn assert_same(&self, after: &Files, what: &str) {
        assert_eq!(self.names(), after.names(), "{what}: the files are other ones");
        for (name, before) in &self.0 {
            let after = &after.0[name];
            if before != after {
                let (Item::File(before), Item::File(after)) = (before, after) else {
                    panic!("{what}: {name} was {before:?} and is {after:?}")
                };
                let first = before.iter().zip(after).position(|(before, after)| before != after);
                panic!("{what}: {name} had {} bytes, has {}, differs from {first:?} on", before.len(), after.len());
            }
        }
    }

    /// Demands that what was written is still there: more may follow, in place of zeros (also that of a seal) or in new
    /// files.
    pub fn assert_kept(&self, after: &Files, what: &str) {
        for (name, before) in &self.0 {
            let (Item::File(before), Some(Item::File(after))) = (before, after.0.get(name)) else {
                assert_eq!(Some(before), after.0.get(name), "{what}: {name}");
                continue;
            };
            let written = before.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            assert_eq!(before.len(), after.len(), "{what}: the size of {name}");
            assert!(before[..written] == after[..written], "{what}: bytes of {name} were written over");
        }
    }
}

fn walk(dir: &Path, prefix: &str, found: &mut BTreeMap<String, Item>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries {
        let entry = entry.expect("a directory can be read");
        let name = format!("{prefix}{}", entry.file_name().to_str().expect("names are UTF-8"));
        let kind = entry.file_type().expect("an entry has a kind");
        let item = if kind.is_dir() {
            walk(&entry.path(), &format!("{name}/"), found);
            Item::Dir
        } else if kind.is_file() {
            Item::File(fs::read(entry.path()).expect("a file can be read"))
        } else if kind.is_symlink() {
            Item::Other(format!("a link to {}", fs::read_link(entry.path()).expect("a link").display()))
        } else {
            Item::Other(format!("fifo {} socket {}", kind.is_fifo(), kind.is_socket()))
        };
        found.insert(name, item);
    }
}

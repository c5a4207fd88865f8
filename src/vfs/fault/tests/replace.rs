//! A name that is given to another file has the one or the other, here as in a real file system.

use std::collections::BTreeSet;
use std::path::Path;

use super::{durable_file, one, outcomes, p, whole};
use crate::vfs::fault::MemVfs;
use crate::vfs::ops::{Access, Vfs};
use crate::vfs::real::RealVfs;

#[test]
fn a_name_that_is_replaced_has_the_one_file_or_the_other() {
    let vfs = MemVfs::new();
    for (path, byte) in [("/old", b"o"), ("/new", b"n")] {
        let file = durable_file(&vfs, path, 0);
        file.write_at(byte, 0).unwrap();
        file.sync_data().unwrap();
    }
    vfs.replace(p("/new"), p("/old")).unwrap();
    assert_eq!(outcomes(&vfs, "/old"), BTreeSet::from([Some(b"o".to_vec()), Some(b"n".to_vec())]));
    assert_eq!(outcomes(&vfs, "/new"), BTreeSet::from([None, Some(b"n".to_vec())]));
    assert_eq!(vfs.crash_states(vfs.trace_len(), &whole(), &mut |_, _| {}), 2);
    vfs.sync_dir(p("/")).unwrap();
    assert_eq!((outcomes(&vfs, "/old"), outcomes(&vfs, "/new")), (one(b"n"), BTreeSet::from([None])));
}

/// What replacing answers, and what is there then.
fn told(vfs: &dyn Vfs, dir: &Path) -> Vec<String> {
    let at = |name: &str| dir.join(name);
    vfs.create_dir(&at("d"), 0o700).unwrap();
    for (name, bytes) in [("a", &b"hello"[..]), ("b", b"x")] {
        vfs.create(&at(name), 0o600).unwrap().write_at(bytes, 0).unwrap();
    }
    let lengths = || ["a", "b", "d/c"].map(|name| vfs.open(&at(name), Access::Read).and_then(|file| file.len()).ok());
    let pairs = [("a", "y"), ("y", "b"), ("a", "d"), ("d", "a"), ("a", "x/a"), ("a", "b"), ("b", "b"), ("b", "d/c")];
    let answers = pairs.map(|(from, to)| {
        let answer = vfs.replace(&at(from), &at(to));
        format!("{from} onto {to}: {:?} {:?}", answer.map_err(|error| error.kind()), lengths())
    });
    answers.into()
}

#[test]
fn the_real_file_system_replaces_as_this_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let real = told(&RealVfs, dir.path());
    let vfs = MemVfs::new();
    vfs.create_dir(p("/ledger"), 0o700).unwrap();
    assert_eq!(told(&vfs, p("/ledger")), real);
    assert!(real.iter().any(|line| line.starts_with("a onto b: Ok(()) [None, Some(5), None]")), "{real:?}");
}

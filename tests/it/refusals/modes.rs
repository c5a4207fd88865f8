//! Who may read what the ledger makes: directories 0700 and files 0600 whatever the umask is; and the bits of a directory
//! that was there before are its owner's business.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use taskledger::Event;

use super::files::Files;
use super::machine::{child, home_of_child};
use super::site::{home, options};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o7777
}

#[test]
fn what_is_made_is_its_owners_alone_whatever_the_umask() {
    for umask in ["000", "022", "027", "077"] {
        let home = home();
        let script = format!("umask {umask}; exec \"$0\" \"$@\"");
        let exe = std::env::current_exe().expect("its own path");
        child("refusals::modes::child_that_makes_a_ledger", &["sh", "-c", &script], &exe, home.path());
        let dir = home.path().join("ledger");
        assert_eq!(mode(&dir), 0o700, "umask {umask}");
        let files = Files::all(&dir);
        let names = files.names();
        let is_there = |end: &str| names.iter().filter(|name| name.ends_with(end)).count();
        assert!(is_there(".log") >= 3 && is_there("live") == 1 && is_there("lock") == 1, "{names:?}");
        assert_eq!(is_there("spare.tmp"), 1, "{names:?}");
        for name in names {
            let path = dir.join(name);
            let wanted = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode(&path), wanted, "umask {umask}: {name}");
        }
    }
}

#[test]
#[ignore = "the child of another test"]
fn child_that_makes_a_ledger() {
    let Some(home) = home_of_child() else { return };
    let dir = home.join("ledger");
    let ledger = options().open(&dir).expect("it is made");
    ledger.append("t", Event::created()).unwrap();
    ledger.append("t", Event::updated().error("x".repeat(9000))).unwrap();
    ledger.append("t", Event::updated().error("y".repeat(9000))).unwrap();
    drop(ledger);
    // What a torn write leaves, so that recovery starts a successor.
    let names = Files::all(&dir);
    let last = names.names().into_iter().rfind(|name| name.ends_with(".log")).expect("a segment").to_owned();
    let mut bytes = fs::read(dir.join(&last)).unwrap();
    let at = bytes.len() - 512;
    bytes[at] = 7;
    fs::write(dir.join(&last), bytes).unwrap();
    let ledger = options().open(&dir).expect("it is recovered");
    ledger.append("t", Event::updated().error("z".repeat(9000))).unwrap();
    ledger.maintain().expect("it makes the spare");
    assert!(dir.join("log/spare.tmp").exists(), "a spare is made ahead");
    // As a kill leaves it; the parent waits for what the harness would say.
    println!("1 passed");
    std::process::exit(0);
}

#[test]
fn the_bits_of_a_directory_that_is_there_stay() {
    for bits in [0o777, 0o1777, 0o755, 0o2770] {
        let home = home();
        let dir = home.path().join("ledger");
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(bits)).unwrap();
        let ledger = options().open(&dir).expect("it is made there");
        ledger.append("t", Event::created()).unwrap();
        ledger.close().unwrap();
        options().open_read_only(&dir).expect("it is read");
        let found =
            [dir.clone(), dir.join("log"), dir.join("LEDGER"), dir.join("live")].map(|path| mode(&path) & 0o1777);
        assert_eq!(found, [bits & 0o1777, 0o700, 0o600, 0o600], "{bits:o}");
    }
}

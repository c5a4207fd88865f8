//! `init` makes a ledger once, and `info` says how one is: empty, at rest, beside a writer, with a torn end, with a gap.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use taskledger::vfs::ops::Vfs;
use taskledger::vfs::real::RealVfs;
use taskledger::{Event, Ledger};

use crate::cli::failing::{segment, tear};
use crate::cli::{Demo, command, finish, path, run};

fn info(dir: &str) -> Value {
    let mut objects = run(&["info", "--json", "-D", dir]).good_json();
    assert_eq!(objects.len(), 1);
    objects.remove(0)
}

fn stamp(millis: u64) -> String {
    let time = jiff::Timestamp::from_millisecond(i64::try_from(millis).unwrap()).unwrap();
    format!("{time:.3}")
}

#[test]
fn init_makes_a_ledger_and_run_again_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("runs"));
    assert_eq!(run(&["init", dir]).good(), format!("made an empty ledger in {dir}\n"));
    let files = |dir: &str| -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|file| (path(file.clone()), std::fs::read(file).unwrap()))
            .collect();
        files.sort();
        files
    };
    let before = files(dir);
    let again = run(&["init", dir]).good();
    assert_eq!(again, format!("there is a ledger in {dir} already, which ends at seq 0; nothing was changed\n"));
    assert_eq!(files(dir), before);
    let object = |created: bool, seq: u64, dir: &str| json!({"type": "taskledger.init/1", "path": dir, "created": created, "seq": seq});
    // Beside a live writer, too.
    let ledger = Ledger::open(dir).unwrap();
    ledger.append("a", Event::created()).unwrap();
    assert_eq!(run(&["init", "--json", dir]).good_json(), [object(false, 1, dir)]);
    drop(ledger);
    // Where -D says, and where nothing says anything; the argument wins.
    let second = &path(home.path().join("second"));
    assert_eq!(run(&["init", "--json", "-D", second]).good_json(), [object(true, 0, second)]);
    let third = &path(home.path().join("third"));
    assert_eq!(run(&["init", third, "--json", "-D", second]).good_json(), [object(true, 0, third)]);
    let default = path(home.path().join(".taskledger"));
    let told = finish(command(&["init", "--json"]).current_dir(home.path())).good_json();
    assert_eq!(told, [object(true, 0, &default)]);
}

#[test]
fn init_refuses_what_is_no_place_for_a_ledger() {
    let home = tempfile::tempdir().unwrap();
    let foreign = home.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("mine.txt"), "mine").unwrap();
    let no_parent = home.path().join("no/parent");
    for dir in [&foreign, &no_parent, &foreign.join("mine.txt")] {
        let ran = run(&["init", "--json", &path(dir.clone())]);
        assert_eq!((ran.code, &ran.error()["code"], ran.out.as_str()), (Some(1), &json!("IO"), ""), "{dir:?}");
    }
    assert_eq!(std::fs::read_dir(&foreign).unwrap().count(), 1, "nothing was put beside it");
    for args in [["--dir-mode", "8"], ["--dir-mode", "1777"], ["--dir-mode", "600"], ["--file-mode", "400"]] {
        let dir = &path(home.path().join("new"));
        let ran = run(&[&["init", "--json", dir][..], &args].concat());
        assert_eq!((ran.code, &ran.error()["code"]), (Some(2), &json!("USAGE")), "{args:?}");
        assert!(!Path::new(dir).exists());
    }
    let demo = Demo::new();
    let (file, mut bytes) = segment(&demo);
    bytes[6000] ^= 0x10;
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(run(&["init", &demo.dir()]).code, Some(5), "a damaged ledger is there, and not well");
}

#[test]
fn init_makes_files_as_it_is_told() {
    let home = tempfile::tempdir().unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let stated = ["--dir-mode", "750", "--file-mode", "640", "--segment-size", "16384"];
    let table: [(&str, &[&str], u32, u32, u64); 3] = [
        ("init", &[], 0o700, 0o600, 1 << 20),
        ("init", &stated, 0o750, 0o640, 16 << 10),
        ("import", &stated, 0o750, 0o640, 16 << 10),
    ];
    for (n, (name, args, dirs, files, size)) in table.into_iter().enumerate() {
        let dir = home.path().join(n.to_string());
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "umask 022; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_taskledger"), name]);
        shell.args(["-D", &path(dir.clone())]).args(args).stdin(std::process::Stdio::null());
        finish(&mut shell).good();
        let log = dir.join("log");
        assert_eq!((mode(&dir), mode(&log)), (dirs, dirs), "{name}");
        let segment = std::fs::read_dir(&log).unwrap().next().expect("a segment").unwrap().path();
        for file in [dir.join("LEDGER"), dir.join("lock"), segment.clone()] {
            assert_eq!(mode(&file), files, "{name}: {file:?}");
        }
        assert_eq!(std::fs::metadata(segment).unwrap().len(), size, "{name}");
    }
}

#[test]
fn info_tells_all_that_monitoring_asks_for() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let (mut files, mut bytes) = (0, 0);
    for below in [dir.clone(), format!("{dir}/log")] {
        for entry in std::fs::read_dir(below).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
            files += 1;
            bytes += entry.metadata().unwrap().len();
        }
    }
    let identity = std::fs::read(Path::new(dir).join("LEDGER")).unwrap();
    let hex: String = identity[32..48].iter().map(|byte| format!("{byte:02x}")).collect();
    let uuid = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    let created_at = u64::from_le_bytes(identity[64..72].try_into().unwrap());
    let expected = json!({
        "type": "taskledger.info/1", "path": dir, "uuid": uuid, "created_at": created_at, "seq": 128, "at": 1_772_333_998_642_u64, "vouched": 128,
        "clean": true, "total": 31, "notes": 0, "oldest": 1, "segments": 1, "files": files, "disk_bytes": bytes, "gaps": [], "unfit": [],
        "states": {"pending": 0, "ready": 1, "running": 2, "completed": 23, "failed": 1, "retrying": 0, "cancelled": 1,
            "skipped": 2, "dead_lettered": 1},
    });
    assert_eq!(info(dir), expected);
    let text = run(&["info", "-D", dir]).good();
    let expected = format!(
        "{dir}\n  ledger    {uuid}, made {}\n  end       seq 128 (2026-03-01T02:59:58.642Z)\n  vouched   up to seq 128\n  \
         writer    none; it was closed in order\n  \
         tasks     31: 1 ready, 2 running, 23 completed, 1 failed, 1 cancelled, 2 skipped, 1 dead_lettered\n  \
         on disk   1.0 MiB in {files} files, 1 segment\n",
        stamp(created_at)
    );
    assert_eq!(text, expected);
}

#[test]
fn info_of_an_empty_ledger_has_no_time_and_is_clean() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    run(&["init", dir]).good();
    let told = info(dir);
    let some = (&told["seq"], &told["vouched"], &told["clean"], &told["total"], told.get("at"));
    assert_eq!(some, (&json!(0), &json!(0), &json!(true), &json!(0), None));
    let text = run(&["info", "-D", dir]).good();
    assert!(text.contains("seq 0, nothing was appended yet\n") && text.contains("tasks     0\n"), "{text}");
}

#[test]
fn info_works_beside_a_writer_and_names_it() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let ledger = Ledger::open(dir).unwrap();
    ledger.append("new", Event::created()).unwrap();
    let told = info(dir);
    assert_eq!(
        (&told["writer"], &told["seq"], &told["vouched"], told.get("clean"), told.get("left_out")),
        (&json!(std::process::id()), &json!(129), &json!(129), None, None),
        "{told}"
    );
    let text = run(&["info", "-D", dir]).good();
    let since = told["writer_since"].as_u64().expect("the writer says when it opened it");
    assert!(since >= told["created_at"].as_u64().unwrap() && since <= RealVfs.now_ms(), "{told}");
    let writer = format!("writer    process {} has had it open since {}\n", std::process::id(), stamp(since));
    assert!(text.contains(&writer), "{text}");
    ledger.close().unwrap();
    let told = info(dir);
    assert_eq!((told.get("writer"), told.get("writer_since"), &told["clean"]), (None, None, &json!(true)));
}

#[test]
fn info_tells_what_was_left_out() {
    let demo = Demo::new();
    let (file, end) = tear(&demo);
    let told = info(&demo.dir());
    let left_out = &told["left_out"];
    assert_eq!((&left_out["file"], &left_out["to"]), (&json!(file), &json!(end + 101)), "{told}");
    assert!(left_out["from"].as_u64() > Some(4096) && left_out["from"].as_u64() <= Some(end as u64 + 100), "{told}");
    assert_eq!((&told["clean"], &told["seq"]), (&json!(false), &json!(128)));
    let text = run(&["info", "-D", &demo.dir()]).good();
    let region = format!("left out  bytes {} to {} of {}\n", left_out["from"], left_out["to"], path(file));
    assert!(text.contains(&region) && text.contains("did not close it in order"), "{text}");
}

#[test]
fn info_tells_of_gaps() {
    let demo = Demo::new();
    let (file, bytes) = segment(&demo);
    // The last frame of the demo is its close, which is all header; what is appended behind it vouches for the rest.
    let end = bytes.iter().rposition(|&byte| byte != 0).expect("a segment has bytes");
    run(&["append", "new", "created", "-D", &demo.dir()]).good();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[end] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let told = info(&demo.dir());
    let gaps = told["gaps"].as_array().expect("gaps are listed");
    assert_eq!((gaps.len(), &gaps[0]["file"], &told["seq"]), (1, &json!(file), &json!(129)), "{told}");
    let (from, to) = (gaps[0]["from"].as_u64().unwrap(), gaps[0]["to"].as_u64().unwrap());
    assert!((from..to).contains(&(end as u64)), "{told}");
    let text = run(&["info", "-D", &demo.dir()]).good();
    assert!(text.contains(&format!("  gap       bytes {from} to {to} of ")), "{text}");
}

//! `dump`: a segment as it is stored, for people and for programs.

use std::process::Stdio;

use serde_json::{Value, json};
use taskledger::{Event, Ledger, Options, TaskState};

use crate::cli::{Demo, command, finish, path, run, run_on, terminal};

/// The first segment of a ledger.
fn first_segment(dir: &str) -> String {
    path(Options::new().segments(dir).unwrap().remove(0).1)
}

#[test]
fn a_dump_has_every_frame_and_every_entry() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let file = &first_segment(dir);
    let bytes = std::fs::read(file).unwrap();
    let mut pieces = run(&["dump", "1", "--json", "--hex", "-D", dir]).good_json();
    assert_eq!(run(&["dump", file, "--json", "--hex"]).good_json(), pieces, "by its name");
    let sums = pieces.pop().expect("the sums come last");
    let frames = pieces.iter().filter(|piece| piece.get("checksum").is_some()).count();
    assert_eq!(
        sums,
        json!({"type": "taskledger.dump/1", "path": file, "number": 1, "base": 1, "bytes": bytes.len(), "frames": frames,
            "entries": 128, "problems": 0})
    );
    let mut entries = Vec::new();
    let mut here = 4096;
    for piece in &pieces {
        assert_eq!((&piece["type"], piece["offset"].as_u64()), (&json!("taskledger.piece/1"), Some(here)));
        let length = piece["length"].as_u64().unwrap();
        let raw = &bytes[here as usize..(here + length) as usize];
        let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(piece["hex"], if piece["kind"] == "unwritten" { "" } else { &hex });
        here += length;
        entries.extend(piece["entries"].as_array().into_iter().flatten().cloned());
    }
    let kinds: Vec<&str> = pieces.iter().map(|piece| piece["kind"].as_str().unwrap()).collect();
    assert_eq!((kinds[0], &kinds[kinds.len() - 3..]), ("open", &["close", "unwritten", "seal"][..]));
    assert_eq!(here, bytes.len() as u64);
    let log: Vec<Value> = demo.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(entries, log, "the entries of all frames are the log");
    // The order of the fields is that of the log's lines.
    let raw = run(&["dump", "1", "--json", "-D", dir]).good();
    assert!(demo.log().lines().all(|entry| raw.contains(entry)));
}

#[test]
fn people_see_frames_entries_and_bytes_that_fit_the_terminal() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let text = run(&["dump", "1", "-D", dir]).good();
    assert!(text.starts_with(&format!(
        "{}: segment 1, from seq 1 on, 1048576 bytes\n   4096  open  before seq 1  ",
        first_segment(dir)
    )));
    assert!(
        text.contains("events  seq 126  epoch 1  durable 125  2026-03-01T02:56:31.189Z  checksum ok  72 bytes\n"),
        "{text}"
    );
    assert!(
        text.contains("\n    126  2026-03-01T02:56:31.189Z  publish/model  pending → ready  by planner\n"),
        "{text}"
    );
    assert!(text.contains(" KiB\n1048512  seal  not sealed  64 bytes\n"), "{text}");
    assert!(text.ends_with("frames with 128 entries; every checksum matches\n"), "{text}");
    let hex = run(&["dump", "1", "--hex", "--limit", "2", "-D", dir]).good();
    let bytes = std::fs::read(first_segment(dir)).unwrap();
    let numbers: Vec<String> = bytes[4096..4112].iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(hex.contains(&format!("\n00001000  {}  ", numbers.join(" "))), "{hex}");
    assert!(hex.contains("nightly/") || hex.contains("nightl\n"), "letters stand beside the numbers: {hex}");
    let Some(screen) = terminal::screen_of(&["dump", "1", "--hex", "-D", dir], 80) else { return };
    let too_long = screen.lines().skip(2).find(|line| terminal::columns_of(line) > 80);
    assert_eq!(too_long, None);

    let offsets = |args: &[&str]| -> Vec<u64> {
        let pieces = run(&[&["dump", "1", "--json", "-D", dir], args].concat()).good_json();
        pieces.iter().filter_map(|piece| piece["offset"].as_u64()).collect()
    };
    let all = offsets(&[]);
    let nth = |n: usize| all[n].to_string();
    assert_eq!(offsets(&["--offset", &nth(5)]), all[5..]);
    assert_eq!(
        offsets(&["--offset", &format!("{:#x}", all[5] + 1), "--limit", "2"]),
        all[5..7],
        "the piece that has it"
    );
    assert_eq!(offsets(&["--limit", "0"]), [0; 0]);
    assert_eq!(offsets(&["--offset", "99999999999"]), [0; 0]);
    // Names are known although the frames that told them are not shown.
    let late = run(&["dump", "1", "--json", "--offset", &nth(60), "--limit", "1", "-D", dir]).good();
    assert!(late.contains(r#""task":""#) && !late.contains("unnamed"), "{late}");
}

#[test]
fn what_is_damaged_is_shown_and_the_exit_code_says_so() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let file = &first_segment(dir);
    let good = std::fs::read(file).unwrap();
    let pieces = run(&["dump", "1", "--json", "-D", dir]).good_json();
    let (second, third) =
        (pieces[1]["offset"].as_u64().unwrap() as usize, pieces[2]["offset"].as_u64().unwrap() as usize);

    // A body: its frame is there without entries, and who it named is not known behind it.
    let mut bytes = good.clone();
    bytes[second + 100] ^= 4;
    std::fs::write(file, &bytes).unwrap();
    let ran = run(&["dump", "1", "--json", "-D", dir]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(5), ""));
    let told: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&told[1]["checksum"], &told[1]["entries"], &told[1]["count"]), (&json!(false), &json!([]), &json!(28)));
    assert_eq!(told[1]["problem"], "the checksum of a frame's body does not match");
    assert_eq!((&told[2]["checksum"], told[2].get("problem")), (&json!(true), None));
    let unnamed: Vec<&Value> = told.iter().filter_map(|piece| piece.get("unnamed")).collect();
    assert!(unnamed.iter().all(|pairs| pairs[0][1].as_str().unwrap().starts_with("task number ")), "{unnamed:?}");
    assert!(unnamed.len() > 50, "{}", unnamed.len());
    let sums = told.last().unwrap();
    assert_eq!((&sums["problems"], &sums["entries"]), (&json!(1), &json!(100)));
    let text = run(&["dump", "1", "-D", dir]);
    assert_eq!(text.code, Some(5));
    assert!(text.out.contains("checksum wrong") && text.out.contains("(task number 0)  "), "{}", text.out);
    assert!(
        text.out.ends_with("1 piece is not sound; `taskledger verify` says whether anything is lost\n"),
        "{}",
        text.out
    );

    // A header: the bytes up to the next frame are none.
    let mut bytes = good.clone();
    bytes[second + 1] ^= 4;
    std::fs::write(file, &bytes).unwrap();
    let ran = run(&["dump", file, "--json", "--hex"]);
    let bad: Value = serde_json::from_str(ran.out.lines().nth(1).unwrap()).unwrap();
    assert_eq!((ran.code, &bad["kind"], &bad["length"]), (Some(5), &json!("bad"), &json!(third - second)));
    assert_eq!(bad["hex"].as_str().map(str::len), Some(2 * (third - second)));
    let text = run(&["dump", file]).out;
    assert!(
        text.contains(&format!("{second}  bad  the checksum of a frame's header does not match  864 bytes\n")),
        "{text}"
    );

    // The header page, which says that it is a segment at all.
    let mut bytes = good;
    bytes[0] = b'x';
    std::fs::write(file, &bytes).unwrap();
    let error = run(&["dump", "1", "--json", "-D", dir]).error();
    assert_eq!((&error["code"], &error["exit"]), (&json!("DAMAGED"), &json!(5)));
}

#[test]
fn what_is_not_there_has_the_code_that_it_has_elsewhere() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let nowhere = &demo.other();
    let text = &path(demo.home.path().join("text"));
    std::fs::write(text, "no segment").unwrap();
    for (args, exit, code) in [
        (&["dump", "2", "-D", dir][..], 3, "NOT_FOUND"),
        (&["dump", "99999999999999999999999", "-D", dir], 3, "NOT_FOUND"),
        (&["dump", "1", "-D", nowhere], 10, "NO_LEDGER"),
        (&["dump", nowhere, "-D", dir], 1, "IO"),
        (&["dump", text], 5, "DAMAGED"),
        (&["dump"], 2, "USAGE"),
        (&["dump", "1", "--offset", "x", "-D", dir], 2, "USAGE"),
    ] {
        let ran = run(&[args, &["--json"]].concat());
        assert_eq!((ran.code, &ran.error()["code"]), (Some(exit), &json!(code)), "{args:?}");
        assert_eq!(ran.out, "", "{args:?}");
    }
    let hint = run(&["dump", "2", "-D", dir]).err;
    assert!(hint.contains("there are the segments 1 to 1"), "{hint}");
}

#[test]
fn a_dump_works_beside_a_writer_and_escapes_what_acts() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let evil = "e\u{1b}[31mv\u{202e}il\nx";
    let ledger = Ledger::open(dir).unwrap();
    ledger.append(evil, Event::observed(TaskState::Failed).error(evil).by(evil)).unwrap();
    let text = run(&["dump", "1", "-D", dir]).good();
    assert!(text.contains(r"e\u{1b}[31mv\u{202e}il\nx") && text.contains("1 entry"), "{text}");
    let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!text.contains(acts) && !run(&["dump", "1", "--hex", "-D", dir]).good().contains(acts), "{text:?}");
    drop(ledger);
    run_on("", &["import", "-D", dir]).good();
    let mut closed = command(&["dump", "1", "--hex", "-D", dir]);
    let (read, write) = std::io::pipe().unwrap();
    drop(read);
    assert_eq!(closed.stdout(Stdio::from(write)).stderr(Stdio::piped()).output().unwrap().status.code(), Some(0));
    assert_eq!(finish(&mut command(&["dump", "--help"])).good().matches("taskledger dump ").count(), 4);
}

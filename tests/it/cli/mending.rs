//! `backup` and `repair` as an operator runs them.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use taskledger::{Event, Ledger, Options};

use crate::cli::{Demo, command, path, run, run_on};
use crate::support::Rng;
use crate::workflows::runs;

/// A ledger of many small segments, and its lines.
fn grown(demo: &Demo, tasks: usize) -> (String, String) {
    let dir = demo.other();
    let mut lines = String::new();
    for n in 0..tasks {
        for event in [
            json!({"task": format!("t{n}"), "event": "created", "at": 1_000_000 + n, "metadata": {"text": "x".repeat(300)}}),
            json!({"task": format!("t{n}"), "event": "transitioned", "to": "ready", "at": 1_000_000 + n}),
        ] {
            lines += &format!("{event}\n");
        }
    }
    run_on(&lines, &["import", "-D", &dir, "--segment-size", "16384", "--batch", "4"]).good();
    let log = run(&["log", "-D", &dir, "--json"]).good();
    (dir, log)
}

fn files(dir: &str) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut dirs = vec![Path::new(dir).to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path)
            } else {
                all.push((path.display().to_string(), fs::read(&path).unwrap()))
            }
        }
    }
    all.sort();
    all
}

fn segments(dir: &str) -> Vec<String> {
    let mut all: Vec<String> =
        fs::read_dir(Path::new(dir).join("log")).unwrap().map(|entry| path(entry.unwrap().path())).collect();
    all.retain(|path| path.ends_with(".log"));
    all.sort();
    all
}

/// Changes some bytes of a file.
fn hurt(file: &str, at: usize, bytes: usize) {
    let mut content = fs::read(file).unwrap();
    content[at..at + bytes].iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::write(file, content).unwrap();
}

#[test]
fn a_backup_beside_a_writer_is_a_ledger_and_again_copies_what_is_new() {
    let demo = Demo::new();
    let (dir, log) = grown(&demo, 120);
    let copy = path(demo.home.path().join("copy"));
    let writer = Ledger::open(&dir).unwrap();
    let first = run(&["backup", &copy, "-D", &dir, "--json"]).good_json().remove(0);
    assert_eq!((&first["seq"], &first["entries"], &first["kept"]), (&json!(240), &json!(240), &json!(0)));
    assert_eq!(first["path"], json!(fs::canonicalize(&copy).unwrap().to_string_lossy()));
    assert_eq!(run(&["log", "-D", &copy, "--json"]).good(), log, "line for line");
    let info = run(&["info", "-D", &copy, "--json"]).good_json().remove(0);
    assert_eq!((&info["clean"], info.get("writer")), (&json!(true), None), "it is closed, though the ledger is open");

    writer.append("new", Event::created()).unwrap();
    let told = run(&["backup", &copy, "-D", &dir]).good();
    let rest = told.split_once(" has ").unwrap().1;
    assert!(rest.starts_with("seq 1 to 241, 1 new: 1 segment copied ("), "{told}");
    let again = run(&["backup", &copy, "-D", &dir, "--json"]).good_json().remove(0);
    assert_eq!((&again["entries"], &again["copied"], &again["bytes"]), (&json!(0), &json!(0), &json!(0)));
    assert!(run(&["verify", "-D", &copy, "--level", "derived"]).good().starts_with("sound"));

    // Elsewhere, opened for writing.
    let moved = path(demo.home.path().join("moved"));
    fs::rename(&copy, &moved).unwrap();
    run(&["append", "new", "ready", "-D", &moved]).good();
    let refused = run(&["backup", &moved, "-D", &dir, "--json"]);
    assert_eq!((refused.code, &refused.error()["code"]), (Some(1), &json!("IO")));
    assert!(refused.err.contains("nothing was copied"), "{}", refused.err);
}

#[test]
fn a_backup_that_is_killed_is_finished_by_the_next() {
    let demo = Demo::new();
    let (dir, log) = grown(&demo, 400);
    let mut rng = Rng(9);
    let (mut killed, mut took) = (0, Duration::from_millis(40));
    for n in 0..12 {
        let copy = path(demo.home.path().join(format!("copy{n}")));
        for _ in 0..3 {
            let began = std::time::Instant::now();
            let mut child =
                command(&["backup", &copy, "-D", &dir]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            // Shorter than one takes, most of the time.
            std::thread::sleep(took.mul_f64(rng.below(100) as f64 / 100.0));
            let _ = child.kill();
            if child.wait().unwrap().success() {
                took = began.elapsed();
            } else {
                killed += 1;
            }
        }
        run(&["backup", &copy, "-D", &dir]).good();
        assert_eq!(run(&["log", "-D", &copy, "--json"]).good(), log);
        assert!(run(&["verify", "-D", &copy]).good().starts_with("sound"));
    }
    assert!(killed > 6, "{killed} were killed");
}

#[test]
fn what_a_backup_refuses_has_a_code_and_makes_nothing() {
    let demo = Demo::new();
    let (dir, _) = grown(&demo, 60);
    let home = |name: &str| path(demo.home.path().join(name));
    let code = |args: &[&str]| {
        let ran = run(&[args, &["--json"]].concat());
        assert_eq!(ran.out, "", "{args:?}");
        (ran.code, ran.error()["code"].as_str().unwrap().to_owned())
    };
    assert_eq!(code(&["backup", &home("x"), "-D", &home("nowhere")]), (Some(10), "NO_LEDGER".to_owned()));
    assert!(!Path::new(&home("x")).exists());
    assert_eq!(code(&["backup", &dir, "-D", &dir]), (Some(1), "IO".to_owned()));
    assert_eq!(code(&["backup", &home("no/such"), "-D", &dir]), (Some(1), "IO".to_owned()));
    assert_eq!(code(&["backup", &demo.dir(), "-D", &dir]), (Some(1), "IO".to_owned()), "another ledger");
    let copy = home("copy");
    run(&["backup", &copy, "-D", &dir]).good();
    let writer = Ledger::open(&copy).unwrap();
    assert_eq!(code(&["backup", &copy, "-D", &dir]), (Some(11), "LOCKED".to_owned()));
    writer.close().unwrap();
    hurt(&segments(&dir)[0], 6000, 2);
    run(&["backup", &copy, "-D", &dir]).good();
    assert_eq!(code(&["backup", &home("elsewhere"), "-D", &dir]), (Some(5), "DAMAGED".to_owned()));
    assert!(run(&["verify", "-D", &copy]).good().starts_with("sound"), "the good copy stays good");
    // Who may read it is said, as elsewhere.
    let open = home("open");
    run(&["backup", &open, "-D", &demo.dir(), "--dir-mode", "755", "--file-mode", "644"]).good();
    let mode = |file: &str| std::os::unix::fs::PermissionsExt::mode(&fs::metadata(file).unwrap().permissions()) & 0o777;
    assert_eq!((mode(&open), mode(&segments(&open)[0])), (0o755, 0o644));
}

#[test]
fn a_repair_says_what_is_lost_and_writes_a_new_ledger_when_told() {
    let demo = Demo::new();
    let (dir, log) = grown(&demo, 120);
    assert_eq!(run(&["repair", "-D", &dir]).good(), "nothing is damaged, and nothing is to be repaired\n");
    let new = path(demo.home.path().join("mended"));
    let none = run(&["repair", "-D", &dir, "--apply", &new, "--json"]).good_json().remove(0);
    assert_eq!((&none["needed"], &none["done"]), (&json!(false), &json!(false)));
    assert!(!Path::new(&new).exists(), "nothing is written where nothing is to be done");

    hurt(&segments(&dir)[1], 7000, 3);
    let before = files(&dir);
    let plan = run(&["repair", "-D", &dir]);
    assert_eq!((plan.code, plan.err.as_str()), (Some(5), ""));
    for part in [
        "damage  ",
        "can be kept  2",
        ", 1 segment as it is",
        "lost  ",
        ": seq ",
        "nothing was changed; `taskledger repair -D ",
    ] {
        assert!(plan.out.contains(part), "{part}: {}", plan.out);
    }
    let told: Vec<Value> =
        run(&["repair", "-D", &dir, "--json"]).out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = told.last().unwrap();
    assert_eq!((&told["needed"], &told["done"], told.get("path")), (&json!(true), &json!(false), None));
    assert!(files(&dir) == before, "not a byte was changed");

    let taken = run(&["repair", "-D", &dir, "--apply", &demo.dir(), "--json"]);
    assert_eq!((taken.code, &taken.error()["code"]), (Some(1), &json!("IO")));
    let done = run(&["repair", "-D", &dir, "--apply", &new]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{}", done.out);
    assert!(done.out.contains(" is sound; what was damaged is kept in its directory aside"), "{}", done.out);
    assert!(files(&dir) == before, "what is damaged stays as it was");
    let names: Vec<String> = fs::read_dir(demo.home.path()).unwrap().map(|entry| path(entry.unwrap().path())).collect();
    assert!(!names.iter().any(|name| name.contains("unfinished")), "{names:?}");
    let aside = Path::new(&new).join("aside").join(Path::new(&segments(&dir)[1]).file_name().unwrap());
    assert_eq!(fs::read(aside).unwrap(), fs::read(&segments(&dir)[1]).unwrap());
    assert!(run(&["verify", "-D", &new]).good().starts_with("sound"));

    let lost: Vec<(u64, u64)> = serde_json::from_value(told["lost"].clone()).unwrap();
    let is_lost = |seq: u64| lost.iter().any(|(from, to)| (*from..=*to).contains(&seq));
    let now = run(&["log", "-D", &new, "--json"]).good();
    let mut kept = 0;
    for (line, now) in log.lines().zip(now.lines()) {
        let entry: Value = serde_json::from_str(line).unwrap();
        if !is_lost(entry["seq"].as_u64().unwrap()) {
            assert_eq!(now, line);
            kept += 1;
        }
    }
    assert_eq!(told["kept"], json!(kept));
    // The command that it names says what was lost.
    let named = done.out.lines().last().unwrap().split('`').nth(1).unwrap().to_owned();
    let words: Vec<&str> = named.split(' ').skip(1).collect();
    let note = run(&words).good();
    assert!(note.contains("\"lost\""), "{note}");
    assert_eq!(run(&["repair", "-D", &new]).code, Some(0));

    let writer = Options::new().open(&new).unwrap();
    assert_eq!(run(&["repair", "-D", &new, "--json"]).error()["code"], json!("LOCKED"), "{writer:?}");
}

/// Real runs, each broken at many places: whatever is kept is as it was, line for line.
#[test]
fn real_runs_survive_a_repair() {
    let Some(runs) = runs() else { return };
    let (mut repaired, mut lost) = (0, 0);
    for one in runs {
        let demo = Demo::new();
        let dir = demo.other();
        run_on(&one.lines.join("\n"), &["import", "-D", &dir, "--segment-size", "65536", "--batch", "40"]).good();
        let log = run(&["log", "-D", &dir, "--json"]).good();
        let all = segments(&dir);
        let mut rng = Rng(one.lines.len() as u64);
        for n in 0..4 {
            let file = &all[rng.below(all.len() as u64) as usize];
            let whole = fs::read(file).unwrap();
            let used = whole.iter().rposition(|byte| *byte != 0).unwrap() as u64;
            hurt(file, rng.below(used - 200) as usize, 1 + rng.below(200) as usize);
            let new = path(demo.home.path().join(format!("mended{n}")));
            let done = run(&["repair", "-D", &dir, "--apply", &new, "--json"]);
            assert_eq!(done.code, Some(0), "{}: {}", one.name, done.err);
            let done: Value = serde_json::from_str(done.out.lines().last().unwrap()).unwrap();
            if done["needed"] == json!(true) {
                let gone: Vec<(u64, u64)> = serde_json::from_value(done["lost"].clone()).unwrap();
                let now = run(&["log", "-D", &new, "--json"]).good();
                for (seq, (line, now)) in (1..).zip(log.lines().zip(now.lines())) {
                    assert!(
                        gone.iter().any(|(from, to)| (*from..=*to).contains(&seq)) || now == line,
                        "{}: {line}",
                        one.name
                    );
                }
                repaired += 1;
                lost += done["lost_entries"].as_u64().unwrap();
            }
            fs::write(file, whole).unwrap();
        }
    }
    println!("{repaired} repairs of real runs, {lost} entries lost");
    assert!(repaired > 10, "{repaired}");
}

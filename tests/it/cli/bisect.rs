//! `bisect`: the first entry after which a condition holds, or a command says that it does.

use serde_json::{Value, json};
use taskledger::{Batch, Event, Expect, Ledger, TaskState};

use crate::cli::{Demo, Ran, command, path, run, terminal};

fn bisect(dir: &str, args: &[&str]) -> Ran {
    run(&[&["bisect", "-D", dir], args].concat())
}

/// What it comes to.
fn found(dir: &str, args: &[&str]) -> Value {
    let mut told = bisect(dir, &[args, &["--json"]].concat()).good_json();
    assert_eq!((told.len(), &told[0]["type"]), (1, &json!("taskledger.bisect/1")));
    told.remove(0)
}

/// By a look at every moment: what `ls` says after each entry.
#[test]
fn a_condition_begins_to_hold_where_a_look_at_every_moment_says() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let log: Vec<Value> = demo.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut tasks = std::collections::BTreeMap::new();
    let mut moments = vec![tasks.clone()];
    for entry in &log {
        let task: &mut (Value, u64) = tasks.entry(entry["task"].as_str().unwrap()).or_default();
        if let Some(to) = entry.get("to") {
            task.0 = to.clone();
        }
        task.1 = entry["attempts"].as_u64().unwrap_or(task.1);
        moments.push(tasks.clone());
    }
    type Moment<'a> = std::collections::BTreeMap<&'a str, (Value, u64)>;
    let count = |moment: &Moment<'_>, state: &str| moment.values().filter(|task| task.0 == state).count();
    type Case<'a> = (&'a str, &'a dyn Fn(&Moment<'_>) -> bool);
    let cases: [Case<'_>; 7] = [
        ("failed > 0 and dead_lettered == 1", &|moment| {
            count(moment, "failed") > 0 && count(moment, "dead_lettered") == 1
        }),
        ("completed >= 10", &|moment| count(moment, "completed") >= 10),
        ("total == 31", &|moment| moment.len() == 31),
        ("total > 0", &|moment| !moment.is_empty()),
        (r#"task("train/churn").attempts == 2"#, &|moment| moment.get("train/churn").is_some_and(|task| task.1 == 2)),
        (r#"task("publish/email").state == "cancelled""#, &|moment| {
            moment.get("publish/email").is_some_and(|task| task.0 == "cancelled")
        }),
        (r#"task("publish/archive").meta("uploaded") == "81 %""#, &|_| false),
    ];
    for (condition, holds) in cases {
        let first = moments.iter().position(holds).unwrap_or(127);
        let told = found(dir, &["--where", condition]);
        assert_eq!((&told["first"], &told["last"]), (&json!(first), &json!(first)), "{condition}");
        assert_eq!((&told["where"], &told["to"], &told["skipped"]), (&json!(condition), &json!(128), &json!(0)));
        assert_eq!(told["entry"], log[first - 1], "{condition}");
        assert!(told["looks"].as_u64().unwrap() <= 10, "{told}");
    }
    let later = found(dir, &["--where", "running < 3", "--from", "seq:120", "--to", "2026-03-01T02:59:00Z"]);
    assert_eq!((&later["first"], &later["to"]), (&json!(125), &json!(126)));
}

#[test]
fn the_ends_are_looked_at_first() {
    let demo = Demo::new();
    let dir = &demo.dir();
    for (args, says) in [
        (&["--where", "total == 0"][..], "it holds already at the start, seq 0"),
        (&["--where", "failed > 9"], "it does not hold at the end, seq 128"),
        (&["--where", "failed > 0", "--to", "seq:118"], "it does not hold at the end, seq 118"),
        (&["--where", "failed > 0", "--from", "seq:119"], "it holds already at the start, seq 119"),
        (&["--where", "failed > 9", "--from", "seq:7", "--to", "seq:7"], "it does not hold at the end, seq 7"),
        (&["--run", "exit 3"], "it holds already at the start, seq 0 (the command ended with 3)"),
        (&["--run", "exit 0"], "it does not hold at the end, seq 128"),
        (&["--run", "exit 125"], "the command cannot tell (exit code 125) at the start, seq 0, which must be known"),
    ] {
        let ran = bisect(dir, args);
        let said = format!("taskledger: {says}\nhint: ");
        assert!(ran.code == Some(3) && ran.err.contains(&said), "{args:?}: {}", ran.err);
        let error = bisect(dir, &[args, &["--json"]].concat()).error();
        assert_eq!((&error["code"], error["seq"].is_u64()), (&json!("NOT_FOUND"), true), "{args:?}");
    }
    for (wrong, says) in [
        (&[][..], "--where"),
        (&["--from", "seq:1"], "--where"),
        (&["--where", "failed > 0", "--run", "true"], "cannot be used with"),
        (&["--where", "failed = 1"], "character 8"),
        (&["--where", "failed > 0", "--from", "noon"], "no moment"),
        (&["--where", "failed > 0", "--from", "seq:9", "--to", "seq:8"], "the earlier moment is --from"),
    ] {
        let ran = bisect(dir, wrong);
        assert!(ran.code == Some(2) && ran.out.is_empty() && ran.err.contains(says), "{wrong:?}: {}", ran.err);
    }
    assert_eq!(bisect(dir, &["--where", "failed > 0", "--to", "seq:129"]).code, Some(3));
    assert_eq!(bisect(&demo.other(), &["--where", "failed > 0"]).code, Some(10));
}

#[test]
fn a_command_gets_the_state_and_answers_with_its_exit_code() {
    let demo = Demo::new();
    let dir = &demo.dir();
    // What it is given is what `ls` prints then, whatever the order of the tasks.
    let seen = path(demo.home.path().join("seen"));
    let keep = format!(r#"cat > {seen}.$TASKLEDGER_SEQ; ! grep -q '"state":"dead_lettered"' {seen}.$TASKLEDGER_SEQ"#);
    assert_eq!(found(dir, &["--run", &keep])["entry"]["task"], "extract/ad-spend");
    for seq in [0, 64, 68, 128] {
        let mut given: Vec<String> =
            std::fs::read_to_string(format!("{seen}.{seq}")).unwrap().lines().map(str::to_owned).collect();
        let shown = run(&["ls", "--json", "--at", &format!("seq:{seq}"), "-D", dir]).out;
        assert_eq!(given.last().map(String::as_str), shown.lines().last(), "the counts come last");
        given.sort();
        let mut shown: Vec<&str> = shown.lines().collect();
        shown.sort_unstable();
        assert_eq!(given, shown, "at seq {seq}");
    }
    // It may ask more of the ledger, write to its standard output, and read nothing.
    let asks = format!(
        r#"echo noise; ! {} show train/churn --at seq:$TASKLEDGER_SEQ | grep -q completed"#,
        crate::cli::PROGRAM
    );
    let ran = bisect(dir, &["--run", &asks, "--json"]);
    let told: Value = serde_json::from_str(&ran.out).expect(&ran.out);
    assert_eq!((ran.code, &told["first"], told["run"].as_str()), (Some(0), &json!(125), Some(&*asks)));
    assert!(ran.err.contains("noise\n"), "{}", ran.err);

    let skips = "test $TASKLEDGER_SEQ -ge 30 -a $TASKLEDGER_SEQ -le 90 && exit 125; test $TASKLEDGER_SEQ -lt 60";
    let told = found(dir, &["--run", skips]);
    assert_eq!((&told["first"], &told["last"], told.get("entry")), (&json!(30), &json!(91), None));
    assert_eq!(told["skipped"], 61);
    let text = bisect(dir, &["--run", skips]).good();
    assert!(text.starts_with("It holds after seq 91, and not yet after seq 29; all between were skipped.\n"), "{text}");

    for (command, how) in
        [("kill -9 $$", "was ended by signal 9"), ("exit 128", "ended with 128"), ("exit 255", "ended with 255")]
    {
        let ran = bisect(dir, &["--run", command]);
        assert!(ran.code == Some(1) && ran.err.contains(&format!("the command {how} at seq 0")), "{}", ran.err);
    }
}

#[test]
fn people_read_the_entry_and_what_was_supposed() {
    let demo = Demo::new();
    let dir = &demo.dir();
    assert_eq!(
        bisect(dir, &["--where", "failed > 0 and total > 5", "--from", "seq:100"]).good(),
        "It holds after seq 119, and not before:\n\
         119  2026-03-01T02:44:15.245Z  train/forecast  running → failed  by worker-5  error out of memory: 31.8 GiB of 32 GiB in use\n\
         Looked at 7 moments, supposing that it goes on holding up to seq 128.\n"
    );
    let within = bisect(dir, &["--where", "total > 4"]);
    assert!(within.code == Some(0) && within.err.contains("this entry is within a batch"), "{}", within.err);
    // The steps are seen on a terminal, and nothing of the bar stays.
    let Some(screen) = terminal::screen_of(&["bisect", "--where", "completed > 3", "-D", dir], 80) else { return };
    assert!(screen.starts_with("It holds after seq ") && screen.lines().count() <= 4, "{screen}");
    let steps = terminal::screen_of(&["bisect", "--run", "test $TASKLEDGER_SEQ -lt 60", "-D", dir], 80).unwrap();
    assert!(steps.contains("step 1 of about 9: seq 0\nstep 2 of about 9: seq 128\n"), "{steps}");
    let quiet = bisect(dir, &["--where", "completed > 3"]);
    assert_eq!(quiet.err, "");
}

/// A hostile id is one that a condition can name, and more tasks than are given at a time are all given.
#[test]
fn many_tasks_and_hostile_ids_are_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let evil = "e\u{1b}[31mv\"\\il\nx";
    let ledger = Ledger::open(dir).unwrap();
    let mut batch = Batch::new();
    for n in 0..2500 {
        batch.push(format!("t{n}"), Event::created(), Expect::Any);
    }
    ledger.commit(batch).unwrap();
    ledger.append(evil, Event::observed(TaskState::Failed).error(evil)).unwrap();
    ledger.append(evil, Event::removed()).unwrap();
    // Beside the writer.
    let quoted = evil.replace('\\', "\\\\").replace('"', "\\\"");
    let text = format!("task(\"{quoted}\").error == \"{quoted}\"");
    let told = found(dir, &["--where", &text, "--to", "seq:2501"]);
    assert_eq!(told["first"], 2501);
    let told = bisect(dir, &["--where", &text, "--to", "seq:2501"]).good();
    assert!(told.contains(r"e\u{1b}[31mv") && !told.contains('\u{1b}'), "{told}");
    let lines = found(dir, &["--run", "test $(wc -l) -lt 2501", "--to", "seq:2500"]);
    assert_eq!(lines["first"], 2500, "as many tasks, and the counts");
    ledger.close().unwrap();
    let help = crate::cli::finish(&mut command(&["bisect", "--help"])).good();
    assert!(help.contains("task(\"ID\").FIELD") && help.matches("taskledger bisect --").count() == 5, "{help}");
}

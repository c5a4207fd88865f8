//! `run`: a command as a task, and that the ledger tells the truth about it, whoever is killed, gone, late or in the way.

mod killed;
mod orphans;
mod output;
mod signals;
mod terminal;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use taskledger::{Event, Expect, Ledger, TaskState, Verdict};
use tempfile::TempDir;

use crate::cli::{PROGRAM, Ran, command, finish, path, run};
use crate::kill::wait_until;

/// An empty ledger, and room for files.
struct Place {
    home: TempDir,
}

/// A run that does not outlive its test.
struct Live(Child);

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Live {
    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Its exit code, within a minute.
    fn end(&mut self) -> Option<i32> {
        wait_until("the end of a run", || self.0.try_wait().unwrap().is_some());
        self.0.wait().unwrap().code()
    }
}

impl Place {
    fn new() -> Place {
        let place = Place { home: tempfile::tempdir().unwrap() };
        run(&["init", &place.dir()]).good();
        place
    }

    fn dir(&self) -> String {
        path(self.home.path().join("ledger"))
    }

    /// The path of a file that commands write.
    fn file(&self, name: &str) -> String {
        path(self.home.path().join(name))
    }

    fn has(&self, name: &str) -> bool {
        self.home.path().join(name).exists()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.home.path().join(name)).unwrap_or_default()
    }

    fn command(&self, options: &[&str], line: &str) -> Command {
        self.program(options, &["sh", "-c", line])
    }

    /// As [`Place::command`], of a program that is no shell.
    fn program(&self, options: &[&str], program: &[&str]) -> Command {
        let mut all = command(&[&["run", "-D", &self.dir()], options, &["--"], program].concat());
        all.current_dir(self.home.path());
        all
    }

    /// Runs a line of a shell as the task `t`.
    fn run(&self, options: &[&str], line: &str) -> Ran {
        finish(&mut self.command(&[&["--id", "t"], options].concat(), line))
    }

    /// Starts one, and goes on; nobody sees what it prints.
    fn start(&self, options: &[&str], line: &str) -> Live {
        self.start_program(options, &["sh", "-c", line])
    }

    /// As [`Place::start`], of a program that is no shell.
    fn start_program(&self, options: &[&str], program: &[&str]) -> Live {
        let mut command = self.program(&[&["--id", "t"], options].concat(), program);
        Live(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn append(&self, args: &[&str]) {
        run(&[&["append", "-D", &self.dir(), "t"], args].concat()).good();
    }

    fn task(&self) -> Value {
        run(&["show", "-D", &self.dir(), "t", "--json"]).good_json().remove(0)
    }

    fn history(&self) -> Vec<Value> {
        run(&["history", "-D", &self.dir(), "t", "--json"]).good_json()
    }

    /// What happened to the task, in words.
    fn words(&self) -> String {
        let word = |entry: &Value| match entry["event"].as_str().unwrap() {
            "transitioned" => entry["to"].as_str().unwrap().to_owned(),
            "requeued" => format!("requeued:{}", entry["to"].as_str().unwrap()),
            other => other.to_owned(),
        };
        self.history().iter().map(word).collect::<Vec<_>>().join(" ")
    }

    /// The state of the task, from the files; nothing where there is none.
    fn state(&self) -> Option<TaskState> {
        let reader = Ledger::open_read_only(self.dir()).unwrap();
        reader.view().get("t").unwrap().map(|task| task.record.state)
    }

    fn is_sound(&self) {
        let report = taskledger::verify(self.dir(), taskledger::Level::Content).unwrap();
        assert_ne!(report.verdict(), Verdict::Damaged, "{:?}", report.findings);
    }

    /// The processes, and not ours, that have this in their environment.
    fn carriers(&self, variable: &str) -> Vec<i32> {
        let listed = fs::read_dir("/proc").unwrap();
        let pids = listed.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        let has = |pid: &i32| {
            let environment = fs::read(PathBuf::from(format!("/proc/{pid}/environ"))).unwrap_or_default();
            let all: Vec<&[u8]> = environment.split(|&byte| byte == 0).collect();
            all.contains(&variable.as_bytes()) && all.contains(&format!("TASKLEDGER_DIR={}", self.dir()).as_bytes())
        };
        pids.filter(has).collect()
    }
}

fn is_there(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

#[test]
fn a_run_is_written_down_from_its_plan_to_its_end() {
    let place = Place::new();
    let says = r#"echo "$TASKLEDGER_TASK $TASKLEDGER_ATTEMPT $TASKLEDGER_RUN $TASKLEDGER_DIR"; echo no >&2"#;
    let ran = place.run(&["--meta", "owner=data", "--meta", "x=y=z", "--actor", "cron"], says);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), "no\n"), "nothing of its own is printed: {ran:?}");
    let history = place.history();
    assert_eq!(place.words(), "created ready running completed");
    assert!(history.iter().all(|entry| entry["actor"] == "cron"), "{history:?}");
    assert_eq!(history[0]["metadata"], json!({"owner": "data", "x": "y=z"}));
    let named = &history[2]["metadata"];
    let token = named["run.token"].as_str().unwrap();
    assert_eq!(ran.out, format!("t 1 {token} {}\n", place.dir()));
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!((&named["run.boot"], &named["run.host"]), (&json!(boot.trim()), &json!(host.trim())));
    assert!(named["run.pid"].as_str().unwrap().parse::<u32>().is_ok(), "{named}");
    assert!(named["run.start"].as_str().unwrap().parse::<u64>().is_ok(), "{named}");
    let output = &history[3]["output"];
    assert_eq!((&output["exit_code"], &output["tail_cut"]), (&json!(0), &json!(false)));
    // The two streams may have come in either order.
    let tail = output["tail"].as_str().unwrap();
    assert!(tail == format!("{}no\n", ran.out) || tail == format!("no\n{}", ran.out), "{tail}");
    assert!(output["duration_ms"].is_u64() && output.as_object().unwrap().len() == 4, "{output}");
    assert_eq!(history[3].get("error"), Some(&Value::Null));
}

#[test]
fn there_must_be_a_ledger_and_own_failures_end_with_125() {
    let home = tempfile::tempdir().unwrap();
    let nowhere = path(home.path().join("none"));
    let ran = run(&["run", "-D", &nowhere, "--id", "t", "--", "true"]);
    assert!(ran.code == Some(125) && ran.out.is_empty() && ran.err.contains("taskledger init"), "{ran:?}");
    let ran = run(&["run", "-D", &nowhere, "--id", "t", "--json", "--", "true"]);
    assert_eq!((ran.code, &ran.error()["code"], &ran.error()["exit"]), (Some(125), &json!("NO_LEDGER"), &json!(125)));
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "a wrong -D makes nothing");
    let place = Place::new();
    let dir = &place.dir();
    for wrong in [
        &["--id", "t"][..],
        &["--", "true"],
        &["--id", "t", "--capture", "2MiB", "--", "true"],
        &["--id", "t", "--timeout", "0s", "--", "true"],
        &["--id", "t", "--timeout", "5", "--", "true"],
        &["--id", "t", "--retries", "-1", "--", "true"],
        &["--id", "t", "--meta", "run.pid=1", "--", "true"],
        &["--id", "t", "--meta", "a=1", "--meta", "a=2", "--", "true"],
        &["--id", "t", "--colour", "--", "true"],
    ] {
        let ran = run(&[&["run", "-D", dir, "--json"], wrong].concat());
        assert_eq!((ran.code, &ran.error()["code"]), (Some(125), &json!("USAGE")), "{wrong:?}");
        let ran = run(&[&["run", "-D", dir], wrong].concat());
        assert_eq!((ran.code, ran.out.as_str()), (Some(125), ""), "{wrong:?}");
    }
    let ran = run(&["run", "-D", dir, "--id", "", "--json", "--", "true"]);
    assert_eq!((ran.code, &ran.error()["code"]), (Some(125), &json!("LIMIT")));
    assert_eq!(run(&["ls", "-D", dir, "--json"]).good_json().len(), 1, "nothing was started");
    // What is the command's is not ours, and the other way round.
    assert_eq!(
        run(&["run", "--id", "t", "-D", dir, "--", "echo", "--json", "--", "-D", "x"]).good(),
        "--json -- -D x\n"
    );
    assert!(!run(&["run", "--nothing", "--", "--json"]).err.starts_with('{'));
    assert_eq!(run(&["ls", "-D", "run", "--nothing"]).code, Some(2), "a directory of that name is no command");
}

#[test]
fn it_ends_as_its_command_does() {
    let place = Place::new();
    for (line, code, error, output) in [
        ("exit 0", 0, Value::Null, json!({"exit_code": 0})),
        ("exit 3", 3, json!("exit code 3"), json!({"exit_code": 3})),
        ("exit 255", 255, json!("exit code 255"), json!({"exit_code": 255})),
        ("kill -9 $$", 137, json!("killed by SIGKILL"), json!({"signal": "SIGKILL", "signal_number": 9})),
        ("kill -SEGV $$", 139, json!("killed by SIGSEGV"), json!({"signal": "SIGSEGV", "signal_number": 11})),
        ("kill -40 $$", 168, json!("killed by signal 40"), json!({"signal_number": 40})),
    ] {
        let ran = place.run(&["--capture", "0"], line);
        let state = if code == 0 { "completed" } else { "failed" };
        assert_eq!((ran.code, ran.out.as_str()), (Some(code), ""), "{line}");
        let task = place.task();
        assert_eq!((&task["state"], task.get("error").unwrap_or(&Value::Null)), (&json!(state), &error), "{line}");
        let mut told = task["output"].clone();
        assert!(told.as_object_mut().unwrap().remove("duration_ms").is_some_and(|ms| ms.is_u64()));
        assert_eq!(told, output, "{line}");
        let said = if code == 0 {
            String::new()
        } else {
            format!("taskledger: t: failed, {} (try 1 of 1)\n", error.as_str().unwrap())
        };
        assert_eq!(ran.err, said, "{line}");
    }
    // For programs nothing is said.
    assert_eq!(place.run(&["--json"], "exit 3").err, "");
}

#[test]
fn a_command_that_cannot_be_started_is_no_success_and_is_not_tried_again() {
    let place = Place::new();
    fs::write(place.file("plain"), "no program").unwrap();
    for (program, code, says) in [
        ("/nowhere/at/all", 127, "No such file"),
        ("taskledger-has-no-such-program", 127, "No such file"),
        (&place.file("plain"), 126, "Permission denied"),
        (&place.dir(), 126, "Permission denied"),
    ] {
        let run = |json: &[&str]| {
            run(&[&["run", "-D", &place.dir(), "--id", "t", "--retries", "3"], json, &["--", program]].concat())
        };
        let ran = run(&[]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(code), ""), "{ran:?}");
        assert!(ran.err.starts_with("taskledger: t: failed, ") && ran.err.contains("hint: "), "{ran:?}");
        assert!(place.words().ends_with("created ready running failed"), "{}", place.words());
        let error = place.task()["error"].as_str().unwrap().to_owned();
        assert!(error.starts_with(&format!("cannot be started: {says}")), "{error}");
        let told = run(&["--json"]).error();
        assert_eq!((&told["code"], &told["exit"], &told["task"]), (&json!("IO"), &json!(code), &json!("t")));
    }
}

#[test]
fn what_somebody_has_planned_is_gone_on_with() {
    for (plan, words) in [
        (&["created"][..], "created updated ready running completed"),
        (&["created", "ready"], "created ready updated running completed"),
        (
            &["created", "ready", "running", "failed", "retrying"],
            "created ready running failed retrying updated running completed",
        ),
    ] {
        let place = Place::new();
        for event in plan {
            place.append(&[event, "--meta", "by=hand"]);
        }
        assert_eq!(place.run(&["--meta", "k=v"], "true").code, Some(0));
        assert_eq!(place.words(), words);
        let task = place.task();
        assert_eq!((&task["metadata"]["by"], &task["metadata"]["k"]), (&json!("hand"), &json!("v")));
    }
    let place = Place::new();
    place.append(&["created"]);
    place.run(&[], "true");
    assert_eq!(place.words(), "created ready running completed", "where there is nothing to update, nothing is");
}

#[test]
fn what_has_ended_is_begun_anew() {
    for ends in [
        &["skipped"][..],
        &["cancelled"],
        &["ready", "running", "completed"],
        &["ready", "running", "failed"],
        &["ready", "running", "failed", "dead_lettered"],
    ] {
        let place = Place::new();
        place.append(&["created", "--meta", "old=1"]);
        for event in ends {
            place.append(&[event]);
        }
        assert_eq!(place.run(&["--meta", "new=1"], "true").code, Some(0));
        let all = format!("created {} removed created ready running completed", ends.join(" "));
        assert_eq!(place.words(), all);
        let history = place.history();
        assert_eq!(history[ends.len() + 1]["reason"], "run again");
        let metadata = place.task()["metadata"].clone();
        assert_eq!((metadata.get("old"), &metadata["new"]), (None, &json!("1")), "it is another record");
    }
}

#[test]
fn a_command_that_fails_is_tried_again_as_often_as_was_asked() {
    let place = Place::new();
    let third = r#"echo "$TASKLEDGER_ATTEMPT"; test "$TASKLEDGER_ATTEMPT" = 3"#;
    let ran = place.run(&["--retries", "5"], third);
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.as_str()),
        (Some(0), "1\n2\n3\n", "taskledger: t: completed (try 3 of 6)\n")
    );
    assert_eq!(place.words(), "created ready running retrying running retrying running completed");
    let history = place.history();
    assert_eq!((&history[3]["error"], &history[3]["output"]["tail"]), (&json!("exit code 1"), &json!("1\n")));
    let tokens: Vec<&Value> =
        history.iter().filter(|entry| entry["to"] == "running").map(|entry| &entry["metadata"]).collect();
    assert!(tokens.len() == 3 && tokens.iter().all(|token| *token == tokens[0] && token["run.pid"].is_string()));
    assert_eq!(place.task().get("error"), None, "what went wrong before is over");

    let ran = place.run(&["--retries", "1", "--retry-delay", "300ms"], "exit 4");
    assert_eq!((ran.code, ran.err.as_str()), (Some(4), "taskledger: t: failed, exit code 4 (try 2 of 2)\n"));
    let history = place.history();
    let [retrying, running, failed] = &history[history.len() - 3..] else { panic!("{history:?}") };
    let waited = running["at"].as_u64().unwrap() - retrying["at"].as_u64().unwrap();
    assert!(waited >= 299, "{waited} ms");
    assert_eq!((&failed["to"], &failed["error"]), (&json!("failed"), &json!("exit code 4")));
}

/// A try does not run beside what the one before has left.
#[test]
fn what_a_failed_try_has_left_is_ended_before_the_next() {
    let place = Place::new();
    let leaves = r#"test -s left && ! grep -qs "^State:[[:space:]]*[^ZX[:space:]]" /proc/$(cat left)/status && exit 0; sleep 60 & echo $! > left; exit 1"#;
    let ran = place.run(&["--retries", "1", "--kill-after", "10s"], leaves);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn a_command_may_say_more_of_its_task_but_not_take_it_away() {
    let place = Place::new();
    let progress = format!("{PROGRAM} append t updated --meta progress=50; {PROGRAM} append t running; exit 3");
    assert_eq!(place.run(&["--capture", "0"], &progress).code, Some(3));
    assert_eq!((&place.task()["state"], &place.task()["metadata"]["progress"]), (&json!("failed"), &json!("50")));
    for (taken, found) in [("append t cancelled --actor me", "cancelled since seq"), ("append t removed", "removed")] {
        let line = format!("{PROGRAM} {taken} > /dev/null; exit 7");
        let ran = place.run(&["--retries", "3"], &line);
        assert_eq!(ran.code, Some(125));
        assert!(ran.err.contains("t: retrying, exit code 7 (try 1 of 4) is not recorded: "), "{ran:?}");
        assert!(ran.err.contains(found) && ran.err.contains("hint: "), "{ran:?}");
        let told = place.run(&["--json"], &line).error();
        assert_eq!((&told["code"], &told["exit"]), (&json!("CONFLICT"), &json!(125)));
    }
}

#[test]
fn many_run_side_by_side_on_one_ledger() {
    let place = Place::new();
    let one = |id: &str| place.command(&["--id", id], "echo $TASKLEDGER_TASK; test $TASKLEDGER_TASK != t5");
    let started: Vec<Child> = (0..8).map(|n| one(&format!("t{n}")).stdout(Stdio::piped()).spawn().unwrap()).collect();
    for (n, child) in started.into_iter().enumerate() {
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), ended.stdout), (Some(i32::from(n == 5)), format!("t{n}\n").into_bytes()));
    }
    let counts = run(&["ls", "-D", &place.dir(), "--json"]).good_json().pop().unwrap();
    assert_eq!((&counts["completed"], &counts["failed"]), (&json!(7), &json!(1)), "{counts}");
    place.is_sound();
}

#[test]
fn of_many_that_start_the_same_task_one_wins() {
    let place = Place::new();
    for round in 0..3 {
        // Each winner goes on until all others have lost.
        let line = "echo won >> won; until test -e over; do sleep 0.01; done";
        let mut started: Vec<Live> = (0..6).map(|_| place.start(&["--json"], line)).collect();
        wait_until("the losers", || ended(&mut started) >= 5);
        fs::write(place.file("over"), "").unwrap();
        let mut codes: Vec<Option<i32>> = started.iter_mut().map(Live::end).collect();
        codes.sort();
        assert_eq!(codes, [Some(0), Some(125), Some(125), Some(125), Some(125), Some(125)]);
        assert_eq!(place.read("won").lines().count(), round + 1);
        fs::remove_file(place.file("over")).unwrap();
    }
}

/// What was seen at the start must still be so when it is written.
#[test]
fn who_was_not_fast_enough_is_told_so() {
    let place = Place::new();
    place.append(&["created"]);
    let ledger = Ledger::open(place.dir()).unwrap();
    let mut waits = place.command(&["--id", "t", "--json"], "true");
    let waits = waits.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It has seen the task, and waits for the ledger.
    wait_until("the run to wait", || is_asleep(waits.id()));
    ledger.append_if("t", Event::updated().by("me"), Expect::Any).unwrap();
    ledger.close().unwrap();
    let ended = waits.wait_with_output().unwrap();
    let told: Value = serde_json::from_slice(&ended.stderr).unwrap();
    assert_eq!((ended.status.code(), &told["code"], &told["exit"]), (Some(125), &json!("CONFLICT"), &json!(125)));
    assert!(told["message"].as_str().unwrap().starts_with("t was not started: "), "{told}");
}

/// Whether a run waits for the ledger: it has caught its signals and gone to sleep some times, which it has nothing else to do
/// for until it starts something.
fn is_asleep(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0").trim().to_owned();
    let catches = u64::from_str_radix(&field("SigCgt:"), 16).unwrap() >> (Signal::CHILD.as_raw() - 1) & 1 == 1;
    catches && field("voluntary_ctxt_switches:").parse::<u64>().unwrap() >= 10
}

/// Whether these tests were started by something that ignores signals, as shells do in the background: then runs ignore them, too.
fn signals_are_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0").trim().to_owned();
    let asked = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM].map(|signal| 1_u64 << (signal.as_raw() - 1));
    let is_so = u64::from_str_radix(&ignored, 16).unwrap() & asked.iter().sum::<u64>() != 0;
    if is_so {
        crate::cli::not_tested("signals to a run", "they are ignored here");
    }
    is_so
}

/// How many of them have ended.
fn ended(runs: &mut [Live]) -> usize {
    runs.iter_mut().filter_map(|run| run.0.try_wait().unwrap()).count()
}

#[test]
fn another_writer_is_waited_for_but_not_for_ever() {
    let place = Place::new();
    let ledger = Ledger::open(place.dir()).unwrap();
    let begun = Instant::now();
    let ran = place.run(&["--json"], "true");
    let told = ran.error();
    assert_eq!((ran.code, &told["code"], &told["exit"]), (Some(125), &json!("LOCKED"), &json!(125)));
    assert!(told["message"].as_str().unwrap().starts_with("t was not started: ") && told["pid"].is_u64(), "{told}");
    assert!((10..30).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    ledger.close().unwrap();

    let mut run = place.start(&["--retries", "1"], "touch begun; until test -e end; do sleep 0.01; done; exit 3");
    wait_until("the command", || place.has("begun"));
    let ledger = Ledger::open(place.dir()).unwrap();
    let at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    fs::write(place.file("end"), "").unwrap();
    std::thread::sleep(Duration::from_millis(700));
    assert!(run.0.try_wait().unwrap().is_none(), "what came of it is not known yet");
    ledger.close().unwrap();
    assert_eq!(run.end(), Some(3));
    let history = place.history();
    let ended = history.iter().find(|entry| entry["to"] == "retrying").unwrap();
    let late = ended["said"].as_u64().or(ended["at"].as_u64()).unwrap().saturating_sub(at);
    assert!(late < 600, "it has the time when it ended, not {late} ms later");
}

#[test]
fn an_end_that_cannot_be_recorded_is_told() {
    let place = Place::new();
    let ran = place.run(&["--json"], "rm -r ledger; exit 3");
    let told = ran.error();
    assert_eq!((ran.code, &told["code"], &told["task"]), (Some(125), &json!("NO_LEDGER"), &json!("t")));
    assert!(
        told["message"].as_str().unwrap().starts_with("t: failed, exit code 3 (try 1 of 1) is not recorded: "),
        "{told}"
    );
    assert!(!place.has("ledger"), "and none is made");
}

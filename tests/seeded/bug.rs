//! A bug: a unified diff below a head that says what it breaks and which test must find it. Pure: text in, text out.
//!
//! ```text
//! bug: what the code does instead
//! breaks: the promise
//! test: the full name of a test of `it`, or of one of the library's own that run schedules
//! env: VARIABLE=value (optional; keeps the test short)
//! says: a text that the failure must contain
//! ```
//! A hunk goes where its old lines stand, whatever its line numbers say, and they must stand there exactly once: code
//! that moves takes the bug along, and code that changes is noticed.

/// Below this the tests are the library's own; all others are those of `it`.
const SCHEDULES: &str = "ledger::schedules::";

/// A patch that was read.
#[derive(Debug, Clone)]
pub struct Bug {
    pub name: String,
    pub what: String,
    pub breaks: String,
    pub test: String,
    pub env: Option<(String, String)>,
    pub says: String,
    pub hunks: Vec<Hunk>,
}

/// Lines of one file, and what takes their place.
#[derive(Debug, Clone)]
pub struct Hunk {
    pub path: String,
    pub old: Vec<String>,
    pub new: Vec<String>,
}

/// What a test is built into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    It,
    Lib,
}

impl Bug {
    /// The program with its test.
    pub fn program(&self) -> Program {
        if self.test.starts_with(SCHEDULES) { Program::Lib } else { Program::It }
    }

    /// Reads a patch; the message says what is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Bug, String> {
        let field = |key: &str| {
            let head = text.lines().take_while(|line| !line.starts_with("--- "));
            let mut values = head.filter_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
            values.next().map(str::to_owned)
        };
        let needed = |key: &str| field(key).ok_or(format!("{name}: there is no line \"{key}: ...\""));
        let env = match field("env") {
            None => None,
            Some(pair) => {
                let pair = pair.split_once('=').ok_or(format!("{name}: \"env: {pair}\" is no VARIABLE=value"))?;
                Some((pair.0.to_owned(), pair.1.to_owned()))
            }
        };
        Ok(Bug {
            name: name.to_owned(),
            what: needed("bug")?,
            breaks: needed("breaks")?,
            test: needed("test")?,
            env,
            says: needed("says")?,
            hunks: hunks(text).map_err(|what| format!("{name}: {what}"))?,
        })
    }

    /// The files that it changes, as they are afterwards. `read` gives a file as it is before.
    pub fn apply(&self, read: &dyn Fn(&str) -> Result<String, String>) -> Result<Vec<(String, String)>, String> {
        let mut files: Vec<(String, String)> = Vec::new();
        for hunk in &self.hunks {
            let n = match files.iter().position(|(path, _)| *path == hunk.path) {
                Some(n) => n,
                None => {
                    files.push((hunk.path.clone(), read(&hunk.path)?));
                    files.len() - 1
                }
            };
            files[n].1 = hunk.replace(&files[n].1).map_err(|what| format!("{}: {what}", self.name))?;
        }
        Ok(files)
    }
}

impl Hunk {
    fn replace(&self, text: &str) -> Result<String, String> {
        let lines: Vec<&str> = text.lines().collect();
        let found: Vec<usize> =
            lines.windows(self.old.len()).enumerate().filter(|(_, at)| *at == self.old).map(|(n, _)| n).collect();
        let [at] = found[..] else {
            let (path, count, old) = (&self.path, found.len(), self.old.join("\n"));
            return Err(format!("these lines must be in {path} once, and are there {count} times:\n{old}"));
        };
        let new = self.new.iter().map(String::as_str);
        let after = &lines[at + self.old.len()..];
        Ok(lines[..at].iter().copied().chain(new).chain(after.iter().copied()).flat_map(|line| [line, "\n"]).collect())
    }
}

/// How many lines one side of a hunk's header announces: `-12,3` has three, `-12` one.
fn announced(side: &str) -> Result<usize, String> {
    let count = side.split_once(',').map_or("1", |(_, count)| count);
    count.parse().map_err(|_| format!("{side:?} is no range of lines"))
}

fn hunks(text: &str) -> Result<Vec<Hunk>, String> {
    let mut lines = text.lines();
    let mut path = None;
    let mut hunks = Vec::new();
    while let Some(line) = lines.next() {
        if let Some(named) = line.strip_prefix("+++ b/") {
            path = Some(named.to_owned());
        }
        let Some(header) = line.strip_prefix("@@ ") else { continue };
        let [from, to, ..] = header.split(' ').collect::<Vec<_>>()[..] else {
            return Err(format!("{line:?} is no header of a hunk"));
        };
        let (olds, news) = (announced(from)?, announced(to)?);
        let path = path.clone().ok_or("a hunk stands before the name of its file")?;
        let mut hunk = Hunk { path, old: Vec::new(), new: Vec::new() };
        while hunk.old.len() < olds || hunk.new.len() < news {
            let line = lines.next().ok_or("the last hunk has fewer lines than it announces")?;
            // An empty line of context may have lost its only blank.
            let (mark, rest) = line.split_at_checked(1).unwrap_or((" ", ""));
            if mark != "+" {
                hunk.old.push(rest.to_owned());
            }
            if mark != "-" {
                hunk.new.push(rest.to_owned());
            }
            if ![" ", "+", "-"].contains(&mark) || hunk.old.len() > olds || hunk.new.len() > news {
                return Err(format!("the hunk does not have the lines that it announces, at {line:?}"));
            }
        }
        hunks.push(hunk);
    }
    if hunks.is_empty() { Err("it changes nothing".to_owned()) } else { Ok(hunks) }
}

#[cfg(test)]
mod tests {
    use super::Bug;

    const HEAD: &str = "bug: a\nbreaks: b\ntest: c::d\nenv: E=f g\nsays: h\n\n--- a/x.rs\n+++ b/x.rs\n";

    fn applied(diff: &str, before: &str) -> Result<String, String> {
        let bug = Bug::parse("name", &format!("{HEAD}{diff}"))?;
        let files =
            bug.apply(&|path| if path == "x.rs" { Ok(before.to_owned()) } else { Err("no file".to_owned()) })?;
        Ok(files.into_iter().map(|(_, text)| text).collect())
    }

    #[test]
    fn lines_are_replaced_where_they_stand_once() {
        let diff = "@@ -9,2 +9,2 @@ fn f()\n a\n-b\n+c\n@@ -20 +19,0 @@\n-z\n";
        assert_eq!(applied(diff, "0\na\nb\nz\n"), Ok("0\na\nc\n".to_owned()));
        assert!(applied(diff, "0\na\nb\na\nb\nz\n").unwrap_err().contains("2 times"));
        assert!(applied(diff, "0\na\nz\n").unwrap_err().contains("0 times"));
    }

    #[test]
    fn a_diff_that_is_not_whole_is_refused() {
        for diff in ["", "@@ -1,2 +1 @@\n-a\n", "@@ -1 +1 @@\n-a\n-b\n", "@@ -1 +1 @@\n-a\n*b\n", "@@ -x,y +1 @@\n"] {
            assert!(applied(diff, "a\nb\n").is_err(), "{diff:?}");
        }
        let parts = HEAD.lines().filter(|line| line.contains(':')).filter(|line| !line.starts_with("env"));
        for part in parts {
            let text = format!("{}@@ -1 +1 @@\n-a\n+b\n", HEAD.replace(part, ""));
            assert!(Bug::parse("name", &text).is_err(), "without {part:?}");
        }
        let bug = Bug::parse("name", &format!("{HEAD}@@ -1 +1 @@\n-a\n+b\n")).unwrap();
        assert_eq!((bug.what, bug.breaks, bug.test, bug.says), ("a".into(), "b".into(), "c::d".into(), "h".into()));
        assert_eq!(bug.env, Some(("E".to_owned(), "f g".to_owned())));
    }
}

//! The rules of the house, read from the source: layers, only places, sizes, and documents that agree with the code.
//!
//! A rule is a function from sources to what breaks it. The last tests show that each rule can be broken.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The layers from the bottom. What stands in a layer uses only what stands below it or, in the same folder, before it.
const LAYERS: [&str; 6] = ["model", "error", "vfs", "storage", "ledger", "adapter"];
/// Longest file, in lines.
const LINES_MAX: usize = 500;
/// Files that were longer when the rule came; they may shrink, and not grow.
const LONG_FILES: [(&str, usize); 1] = [("vfs/fault/tests.rs", 867)];

/// One file of the source.
struct Source {
    /// Its path below `src`, with `/`.
    path: String,
    text: String,
    /// Without comments, contents of literals, and modules that are compiled for tests only.
    code: String,
    /// The string literals in that code.
    literals: Vec<Literal>,
}

/// A string literal.
struct Literal {
    /// Where it stands in the code.
    at: usize,
    text: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        let (code, literals) = strip(text);
        Source { path: path.to_owned(), text: text.to_owned(), code, literals }
    }

    /// Its module: `["ledger", "commit"]`; a folder's map is the folder's module, and the crate's root has no name.
    fn module(&self) -> Vec<&str> {
        let path = self.path.trim_end_matches(".rs");
        let path = path.strip_suffix("/mod").unwrap_or(path);
        if ["lib", "main", "mod"].contains(&path) { Vec::new() } else { path.split('/').collect() }
    }

    /// Whether it is a root or the map of a folder, which names what stands in it.
    fn is_map(&self) -> bool {
        self.path.ends_with("/mod.rs") || !self.path.contains('/') && self.path != "error.rs"
    }

    /// The modules that a map lists, in order.
    fn listed(&self) -> Vec<&str> {
        let mut words = words(&self.code);
        let mut listed = Vec::new();
        while let Some(word) = words.next() {
            if word == "mod" {
                listed.extend(words.next());
            }
        }
        listed
    }
}

/// The words of a code: names, keywords and numbers.
fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Takes comments, the contents of literals and test-only items out of a source; line breaks stay.
fn strip(text: &str) -> (String, Vec<Literal>) {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::new();
    let mut literals: Vec<Literal> = Vec::new();
    let starts = |at: usize, what: &str| what.chars().enumerate().all(|(n, c)| chars.get(at + n) == Some(&c));
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let after_word = code.chars().last().is_some_and(|c| c.is_alphanumeric() || c == '_');
        let raw = (c == 'r' && (!after_word || code.ends_with('b'))).then(|| {
            let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
            (chars.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
        });
        if starts(at, "//") {
            at += chars[at..].iter().take_while(|&&c| c != '\n').count();
        } else if starts(at, "/*") {
            let mut depth = 0;
            loop {
                if starts(at, "/*") {
                    (depth, at) = (depth + 1, at + 2);
                } else if starts(at, "*/") {
                    (depth, at) = (depth - 1, at + 2);
                } else if at < chars.len() {
                    code.extend(Some('\n').filter(|_| chars[at] == '\n'));
                    at += 1;
                }
                if depth == 0 || at >= chars.len() {
                    break;
                }
            }
        } else if let Some(Some(hashes)) = raw {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = at + 2 + hashes;
            at = (start..chars.len()).find(|&at| starts(at, &end)).expect("a raw string ends");
            literals.push(Literal { at: code.len(), text: chars[start..at].iter().collect() });
            code.push_str("\"\"");
            at += end.len();
        } else if c == '"' {
            let start = at + 1;
            at = start;
            while chars[at] != '"' {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            literals.push(Literal { at: code.len(), text: chars[start..at].iter().collect() });
            code.push_str("\"\"");
            at += 1;
        } else if c == '\'' && (chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'')) {
            // A letter, not a lifetime.
            at += if chars[at + 1] == '\\' { 3 } else { 2 };
            at += chars[at..].iter().take_while(|&&c| c != '\'').count() + 1;
            code.push_str("''");
        } else {
            code.push(c);
            at += 1;
        }
    }
    let mut tests = Vec::new();
    while let Some(start) = code.find("#[cfg(test)]") {
        let end = start + item_end(&code[start..]);
        let blank: String = code[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        assert_eq!(blank.len(), end - start, "code outside of literals is ASCII");
        code.replace_range(start..end, &blank);
        tests.push(start..end);
    }
    literals.retain(|literal| !tests.iter().any(|range| range.contains(&literal.at)));
    (code, literals)
}

/// Where the first item ends: at its closing brace, or at a semicolon before any brace.
fn item_end(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// The paths that a code names from `crate` or `super`, as modules from the root.
fn paths_used(source: &Source) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (start, _) in source.code.match_indices("crate::").chain(source.code.match_indices("super::")) {
        let before = source.code[..start].chars().last();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
            continue;
        }
        let path: String =
            source.code[start..].chars().take_while(|&c| c.is_alphanumeric() || c == '_' || c == ':').collect();
        let mut module: Vec<String> = Vec::new();
        for part in path.split("::").filter(|part| !part.is_empty()) {
            match part {
                "crate" => module.clear(),
                "super" if module.is_empty() => {
                    module = source.module().into_iter().map(str::to_owned).collect();
                    module.pop();
                }
                "super" => drop(module.pop()),
                part => module.push(part.to_owned()),
            }
        }
        found.push(module);
    }
    found
}

/// What stands at a module path or, where that names an item, at the longest beginning of it that is a module.
fn file_of<'a>(sources: &'a [Source], path: &[String]) -> Option<&'a Source> {
    (1..=path.len()).rev().find_map(|len| sources.iter().find(|source| source.module() == path[..len]))
}

fn broken_layers(sources: &[Source]) -> Vec<String> {
    let layer = |name: &str| LAYERS.iter().position(|layer| *layer == name);
    let mut broken = BTreeSet::new();
    for source in sources.iter().filter(|source| !source.is_map()) {
        let module = source.module();
        for path in paths_used(source) {
            let used = path.join("::");
            if path.is_empty() {
                broken.insert(format!("{} names the crate's root; say where it comes from", source.path));
            } else if module[0] == "cli" && path[0] != "cli" {
                broken.insert(format!("{} uses crate::{used}; the command line sees only taskledger::", source.path));
            } else if path[0] != module[0] {
                if layer(&path[0]).is_none_or(|used| Some(used) >= layer(module[0])) {
                    broken.insert(format!("{} uses crate::{used}, which stands above it", source.path));
                }
            } else {
                broken.extend(broken_order(sources, source, &path));
            }
        }
    }
    broken.into_iter().collect()
}

/// Within a folder: only what its map lists before.
fn broken_order(sources: &[Source], source: &Source, path: &[String]) -> Option<String> {
    let module = source.module();
    let shared = module.iter().zip(path).take_while(|(own, used)| *own == used).count();
    let map = format!("{}/mod.rs", module[..shared].join("/"));
    let listed = sources.iter().find(|source| source.path == map)?.listed();
    let place = |name: Option<&str>| listed.iter().position(|listed| Some(*listed) == name);
    let own = place(module.get(shared).copied())?;
    match place(path.get(shared).map(String::as_str)) {
        Some(used) if used < own => None,
        Some(_) => {
            let (used, own) = (path.join("::"), &source.path);
            Some(format!("{own} uses crate::{used}, which {map} does not list before it"))
        }
        None => Some(format!("{} uses crate::{}, an item of the map {map}", source.path, path.join("::"))),
    }
}

/// Circles of files that use each other, each named by its first file and those that it can reach and that reach it.
fn circles(sources: &[Source]) -> Vec<String> {
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.is_map()) {
        let paths = paths_used(source);
        let used = paths.iter().filter_map(|path| file_of(sources, path)).map(|used| used.path.as_str());
        uses.insert(&source.path, used.filter(|&used| used != source.path && uses_itself(used)).collect());
    }
    let reach = |from: &str| {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut next: Vec<&str> = uses.get(from).into_iter().flatten().copied().collect();
        while let Some(file) = next.pop() {
            if seen.insert(file) {
                next.extend(uses.get(file).into_iter().flatten());
            }
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<&str>> = uses.keys().map(|&file| (file, reach(file))).collect();
    let mut found = BTreeSet::new();
    for (file, reachable) in &reached {
        if reachable.contains(file) {
            let circle: Vec<&str> = reachable
                .iter()
                .copied()
                .filter(|other| reached.get(other).is_some_and(|back| back.contains(file)))
                .collect();
            found.insert(format!("a circle: {}", circle.join(", ")));
        }
    }
    found.into_iter().collect()
}

/// A map leads to all that it lists; going through it is no use of all of that.
fn uses_itself(path: &str) -> bool {
    !path.ends_with("mod.rs") && path != "lib.rs"
}

/// A word that may stand in the code of some places only.
fn word_only_in(sources: &[Source], word: &str, allowed: &[&str]) -> Vec<String> {
    let elsewhere = sources.iter().filter(|source| !allowed.iter().any(|place| source.path.starts_with(place)));
    let breaking = elsewhere.filter(|source| words(&source.code).any(|found| found == word));
    breaking.map(|source| format!("{} has `{word}`; only {allowed:?} may", source.path)).collect()
}

/// Code that may stand in some places only, with spaces left out.
fn code_only_in(sources: &[Source], what: &str, allowed: &[&str]) -> Vec<String> {
    let elsewhere = sources.iter().filter(|source| !allowed.iter().any(|place| source.path.starts_with(place)));
    let breaking = elsewhere.filter(|source| source.code.split_whitespace().collect::<String>().contains(what));
    breaking.map(|source| format!("{} has `{what}`; only {allowed:?} may", source.path)).collect()
}

/// Literals that are names of the ledger's files, or ends of such names.
fn file_names(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources.iter().filter(|source| source.path != "storage/names.rs") {
        for Literal { at, text } in &source.literals {
            let joined =
                source.code[..*at].ends_with("join(") && ["LEDGER", "lock", "live", "log"].contains(&text.as_str());
            let ends = [".log", ".tmp"].iter().any(|end| text.ends_with(end)) && !text.contains(char::is_whitespace);
            if joined || ends || text.starts_with("LEDGER.") {
                broken.push(format!("{} has the file name {text:?}", source.path));
            }
        }
    }
    broken
}

/// Macros that print or give up, and notes to oneself.
fn noise(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources {
        for name in ["println", "eprintln", "print", "eprint", "dbg", "todo", "unimplemented"] {
            let calls = source
                .code
                .match_indices(&format!("{name}!"))
                .any(|(at, _)| !source.code[..at].chars().last().is_some_and(|c| c.is_alphanumeric() || c == '_'));
            if calls {
                broken.push(format!("{} has {name}!", source.path));
            }
        }
        for note in ["TODO", "FIXME", "XXX", "HACK"] {
            if words(&source.text).any(|word| word == note) {
                broken.push(format!("{} has a {note}", source.path));
            }
        }
    }
    broken
}

fn shape(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources {
        if !source.text.starts_with("//! ") {
            broken.push(format!("{} does not begin by saying what lives there", source.path));
        }
        if source.code.split(';').any(|item| item.contains("use ") && item.trim_end().ends_with("::*")) {
            broken.push(format!("{} imports everything with `*`", source.path));
        }
        if source.module().iter().any(|part| ["utils", "util", "common", "helpers", "misc"].contains(part)) {
            broken.push(format!("{} is a drawer; say what lives there", source.path));
        }
    }
    broken
}

fn too_long(sources: &[Source], exceptions: &[(&str, usize)]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources {
        let lines = source.text.lines().count();
        let exception = exceptions.iter().find(|(path, _)| *path == source.path).map(|(_, lines)| *lines);
        let most = exception.unwrap_or(LINES_MAX);
        if lines > most {
            broken.push(format!("{} has {lines} lines, at most {most} are allowed", source.path));
        } else if exception.is_some() && lines <= LINES_MAX {
            broken.push(format!("{} has {lines} lines and needs no exception any more", source.path));
        }
    }
    for (path, _) in exceptions.iter().filter(|(path, _)| !sources.iter().any(|source| source.path == *path)) {
        broken.push(format!("{path} is gone and needs no exception any more"));
    }
    broken
}

/// The constants of the code by name, as expressions; one name may be used in several files.
fn constants(sources: &[Source]) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources {
        for declared in source.text.split("const ").skip(1) {
            let Some((name, rest)) = declared.split_once(':') else { continue };
            let Some((_, value)) = rest.split_once('=') else { continue };
            let Some((value, _)) = value.split_once(';') else { continue };
            if !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_') {
                found.entry(name.to_owned()).or_default().push(value.trim().to_owned());
            }
        }
    }
    found
}

/// The number that a constant's expression comes to: sums, products, shifts, brackets, and other constants.
fn value_of(expression: &str, constants: &BTreeMap<String, Vec<String>>) -> Option<i128> {
    fn level(text: &mut &str, rank: usize, constants: &BTreeMap<String, Vec<String>>) -> Option<i128> {
        const RANKS: [&[&str]; 3] = [&["<<"], &["+", "-"], &["*", "/"]];
        let Some(operators) = RANKS.get(rank) else { return atom(text, constants) };
        let mut left = level(text, rank + 1, constants)?;
        while let Some(operator) = operators.iter().find(|&&operator| text.trim_start().starts_with(operator)) {
            *text = &text.trim_start()[operator.len()..];
            let right = level(text, rank + 1, constants)?;
            left = match *operator {
                "<<" => left << right,
                "+" => left + right,
                "-" => left - right,
                "*" => left * right,
                _ => left / right,
            };
        }
        Some(left)
    }
    fn atom(text: &mut &str, constants: &BTreeMap<String, Vec<String>>) -> Option<i128> {
        *text = text.trim_start();
        let value = if let Some(rest) = text.strip_prefix('(') {
            *text = rest;
            let value = level(text, 0, constants)?;
            *text = text.trim_start().strip_prefix(')')?;
            value
        } else {
            let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(text.len());
            let (word, rest) = text.split_at(end);
            *text = rest;
            match number(word) {
                Some(number) => number,
                None => value_of(constants.get(word.rsplit("::").next()?)?.first()?, constants)?,
            }
        };
        if let Some(rest) = text.trim_start().strip_prefix("as ") {
            let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
            *text = &rest[end..];
        }
        Some(value)
    }
    let mut text = expression;
    level(&mut text, 0, constants).filter(|_| text.trim().is_empty())
}

/// A number as people and Rust write it: `4096`, `65_535`, `0x1F`, `8 MiB`, `7u64`.
fn number(text: &str) -> Option<i128> {
    let text = text.trim().replace(['_', ','], "");
    let (text, unit) = match text.split_once(' ') {
        Some((text, "KiB")) => (text, 1 << 10),
        Some((text, "MiB")) => (text, 1 << 20),
        Some((text, "GiB")) => (text, 1 << 30),
        Some((text, _)) => (text, 1),
        None => (text.as_str(), 1),
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return i128::from_str_radix(digits, 16).ok();
    }
    let text =
        ["usize", "u64", "u32", "u16", "u8", "i64"].iter().find_map(|kind| text.strip_suffix(kind)).unwrap_or(text);
    text.parse::<i128>().ok().map(|number| number * unit)
}

/// The rows `| NAME | value |` under the heading "Constants" of a document that are not what the code says.
fn false_constants(document: &str, sources: &[Source]) -> Vec<String> {
    let constants = constants(sources);
    let mut broken = Vec::new();
    let mut within = false;
    let mut rows = 0;
    let mut lines = document.lines().peekable();
    while let Some(line) = lines.next() {
        if lines.peek().is_some_and(|next| next.starts_with("|-")) {
            continue; // the head of a table
        }
        if line.starts_with('#') {
            within = line.trim_start_matches('#').trim() == "Constants";
        }
        let Some(row) = line.trim().strip_prefix('|').filter(|_| within) else { continue };
        let cells: Vec<String> = row.split('|').map(|cell| cell.trim().replace('`', "")).collect();
        let [name, value, ..] = cells.as_slice() else { continue };
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_') {
            continue;
        }
        rows += 1;
        let Some(expressions) = constants.get(name) else {
            broken.push(format!("{name} is no constant of the code"));
            continue;
        };
        let same = |expression: &String| match (number(value), value_of(expression, &constants)) {
            (Some(value), Some(code)) => value == code,
            _ => {
                expression.replace(['*', '"'], "").trim_start_matches('b')
                    == value.replace('"', "").trim_start_matches('b')
            }
        };
        if !expressions.iter().any(same) {
            broken.push(format!("{name} is {value} in the document and {expressions:?} in the code"));
        }
    }
    if rows == 0 {
        broken.push("there is no row under a heading \"Constants\"".to_owned());
    }
    broken
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All sources but those that are compiled for tests only, and what stands in their folders.
fn sources() -> Vec<Source> {
    let (all, tests) = all_sources();
    let folders: Vec<String> = tests.iter().map(|path| path.replace(".rs", "/")).collect();
    let of_tests = |path: &String| tests.contains(path) || folders.iter().any(|folder| path.starts_with(folder));
    all.into_iter().filter(|source| !of_tests(&source.path)).collect()
}

/// All sources, and the paths of those that are compiled for tests only.
fn all_sources() -> (Vec<Source>, BTreeSet<String>) {
    fn walk(dir: &Path, found: &mut Vec<Source>) {
        let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(root().join("src")).unwrap().to_str().unwrap().replace('\\', "/");
                found.push(Source::new(&below, &fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join("src"), &mut found);
    assert!(found.len() > 30, "this is not the source");
    let mut tests = BTreeSet::new();
    for source in &found {
        let folder = source.path.trim_end_matches("mod.rs").trim_end_matches(".rs").trim_end_matches('/');
        for (at, _) in source.text.match_indices("#[cfg(test)]") {
            let item = source.text[at..].trim_start_matches("#[cfg(test)]").trim_start();
            if let Some(name) = item.strip_prefix("mod ").and_then(|rest| rest.split_once(';')).map(|(name, _)| name) {
                tests.insert(format!("{folder}/{name}.rs"));
            }
        }
    }
    (found, tests)
}

fn assert_kept(broken: &[String]) {
    assert!(broken.is_empty(), "\n  {}\n", broken.join("\n  "));
}

#[test]
fn each_file_uses_only_what_stands_below_it_or_before_it() {
    assert_kept(&broken_layers(&sources()));
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    assert_kept(&circles(&sources()));
}

#[test]
fn bincode_is_named_in_the_codec_only() {
    assert_kept(&word_only_in(&sources(), "bincode", &["storage/codec/"]));
}

/// What threads of a ledger share, wait and tell time with is chosen in one file, so that schedules reach all of it.
#[test]
fn threads_wait_by_the_primitives_only() {
    let ledger: Vec<Source> = sources().into_iter().filter(|source| source.path.starts_with("ledger/")).collect();
    for what in ["std::thread", "std::sync::{", "std::sync::atomic::{", "std::time::{", "std::time::Instant"] {
        assert_kept(&code_only_in(&ledger, what, &["ledger/primitives.rs"]));
    }
    for what in ["Mutex", "RwLock", "Condvar"] {
        assert_kept(&code_only_in(&ledger, &format!("std::sync::{what}"), &["ledger/primitives.rs"]));
    }
    assert_kept(&code_only_in(&ledger, "std::sync::atomic::Atomic", &["ledger/primitives.rs"]));
}

#[test]
fn the_bar_is_drawn_where_everything_else_is_written() {
    assert_kept(&word_only_in(&sources(), "indicatif", &["cli/out.rs"]));
}

#[test]
fn what_is_unsafe_is_in_one_file() {
    assert_kept(&word_only_in(&sources(), "unsafe", &["vfs/map.rs"]));
}

#[test]
fn file_names_are_made_in_one_file() {
    assert_kept(&file_names(&sources()));
}

#[test]
fn wall_time_is_read_in_one_file() {
    assert_kept(&word_only_in(&sources(), "SystemTime", &["model/clock.rs"]));
}

#[test]
fn files_are_touched_in_the_vfs_only() {
    // The files that a command is told to read or to write, and the manual's pages, are the user's, not the ledger's.
    let of_users = ["vfs/", "cli/input.rs", "cli/manual.rs", "cli/output.rs"];
    assert_kept(&code_only_in(&sources(), "std::fs", &of_users));
    assert_kept(&code_only_in(&sources(), "std::{fs", &["vfs/"]));
}

#[test]
fn nothing_prints_or_is_left_to_be_done() {
    assert_kept(&noise(&sources()));
}

#[test]
fn each_file_says_what_lives_there_imports_by_name_and_is_no_drawer() {
    assert_kept(&shape(&sources()));
}

#[test]
fn no_file_is_longer_than_500_lines() {
    assert_kept(&too_long(&all_sources().0, &LONG_FILES));
}

#[test]
fn the_constants_of_the_format_document_are_those_of_the_code() {
    let document = fs::read_to_string(root().join("docs/format.md")).unwrap();
    assert_kept(&false_constants(&document, &sources()));
}

#[test]
fn the_changelog_names_the_version() {
    let changelog = fs::read_to_string(root().join("docs/changelog.md")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let is_named = |line: &str| line.starts_with('#') && line.split([' ', '[', ']', ',']).any(|word| word == version);
    assert!(changelog.lines().any(is_named), "no heading of docs/changelog.md names {version}");
}

#[test]
fn a_source_is_read_without_comments_literals_and_tests() {
    let text = r###"//! unsafe
/* a /* nested */ comment */
fn f<'a>(x: &'a str) -> char { let _ = "text \" // no"; let _ = r#"raw " text"#; '\'' } // unsafe
let _ = ['{', '"', b'"', '\u{7d}'];
#[cfg(test)]
mod tests {
    use super::*;
    const NAME: &str = "x.log";
}
#[cfg(test)]
mod more;
fn g() {}
"###;
    let source = Source::new("model/x.rs", text);
    let literals: Vec<&str> = source.literals.iter().map(|literal| literal.text.as_str()).collect();
    assert_eq!(literals, [r#"text \" // no"#, r#"raw " text"#]);
    assert_eq!(source.code.lines().count(), text.lines().count());
    let kept: Vec<&str> = words(&source.code).collect();
    assert_eq!(kept.join(" "), "fn f a x a str char let _ let _ r let _ b fn g".replace(" r ", " "));
}

/// Sources that keep every rule, and one more that does not.
fn with(path: &str, text: &str) -> Vec<Source> {
    let text = format!("//! It is here.\n{text}");
    vec![
        Source::new("lib.rs", "//! The crate.\nmod error; mod ledger; mod model; pub use ledger::handle::Ledger;"),
        Source::new("ledger/mod.rs", "//! Map.\nmod options;\nmod handle;\n"),
        Source::new("ledger/options.rs", "//! Options.\nuse crate::error::Error;\n"),
        Source::new(
            "ledger/handle.rs",
            "//! Handle.\nuse crate::ledger::options::Options;\nuse crate::model::seq::Seq;",
        ),
        Source::new("model/mod.rs", "//! Map.\npub mod seq;\n"),
        Source::new(
            "model/seq.rs",
            "//! Seq.\npub const A: u64 = 1 << 4;\npub const B: usize = 2 * (A as usize + 1) - 0x2;",
        ),
        Source::new("error.rs", "//! Error.\nuse crate::model::seq::Seq;\n"),
        Source::new(path, &text),
    ]
}

#[test]
fn each_rule_finds_what_breaks_it_and_nothing_else() {
    type Rule = fn(&[Source]) -> Vec<String>;
    let rules: [(&str, Rule); 9] = [
        ("layers", broken_layers),
        ("circles", circles),
        ("bincode", |sources| word_only_in(sources, "bincode", &["storage/codec/"])),
        ("unsafe", |sources| word_only_in(sources, "unsafe", &["vfs/map.rs"])),
        ("names", file_names),
        ("fs", |sources| code_only_in(sources, "std::fs", &["vfs/"])),
        ("noise", noise),
        ("shape", shape),
        ("long", |sources| too_long(sources, &[])),
    ];
    let long = "// line\n".repeat(LINES_MAX);
    let table = [
        ("vfs/a.rs", "use crate::model::seq::Seq; // crate::ledger", ""),
        ("vfs/a.rs", "fn f() { crate::ledger::handle::open(); }", "layers"),
        ("model/a.rs", "use crate::error::Error;", "layers"),
        ("cli/append.rs", "use taskledger::Ledger; use crate::cli::args;", ""),
        ("cli/append.rs", "use crate::model::seq::Seq;", "layers"),
        ("ledger/options.rs", "use super::handle::Ledger;", "layers circles"),
        ("ledger/options.rs", "use crate::ledger::handle::{Ledger, Other};", "layers circles"),
        ("ledger/options.rs", "use crate::Ledger;", "layers"),
        ("storage/codec/a.rs", "use bincode::Encode;", ""),
        ("storage/a.rs", "use bincode::Encode;", "bincode"),
        ("model/a.rs", "#![forbid(unsafe_code)]", ""),
        ("model/a.rs", "fn f() { unsafe { g() } }", "unsafe"),
        ("vfs/map.rs", "fn f() { unsafe { g() } }", ""),
        ("storage/names.rs", r#"const A: &str = ".log";"#, ""),
        ("storage/a.rs", r#"const A: &str = "{number}-{base}.log";"#, "names"),
        ("storage/a.rs", r#"fn f() { dir.join("LEDGER"); }"#, "names"),
        ("error.rs", r#"fn f() { "NO_LEDGER"; "LEDGER"; "see a.log or b.log"; }"#, ""),
        ("vfs/real.rs", "use std::fs;", ""),
        ("ledger/a.rs", "use std::fs::File;", "fs"),
        ("ledger/a.rs", "/// println!(1)\nfn blueprint!() {}", ""),
        ("ledger/a.rs", r#"fn f() { println!("x"); }"#, "noise"),
        ("ledger/a.rs", "// TODO later", "noise"),
        ("ledger/a.rs", "#[cfg(test)]\nmod tests {\n    use super::*;\n}", ""),
        ("ledger/handle.rs", "use super::*;", "shape layers"),
        ("ledger/utils.rs", "", "shape"),
        ("ledger/a.rs", &long, "long"),
    ];
    for (path, text, expected) in table {
        let mut sources = with(path, text);
        // A file of the same name takes the place of the one that keeps the rules.
        let last = sources.len() - 1;
        if let Some(at) = sources[..last].iter().position(|source| source.path == path) {
            sources.swap_remove(at);
        }
        for (name, rule) in rules {
            let broken = rule(&sources);
            let expected = expected.split(' ').any(|expected| expected == name);
            assert_eq!(!broken.is_empty(), expected, "{name} and {path}: {text:.60}\n{broken:?}");
        }
    }
    assert_eq!(shape(&[Source::new("model/a.rs", "use std::fmt;")]).len(), 1, "it does not begin with a sentence");
}

#[test]
fn long_files_may_shrink_but_not_grow_and_are_taken_from_the_list_in_the_end() {
    let of = |lines: usize| [Source::new("model/a.rs", &"\n".repeat(lines))];
    let exceptions = [("model/a.rs", 600)];
    assert_eq!(too_long(&of(600), &exceptions), [""; 0]);
    for lines in [601, 500] {
        assert_eq!(too_long(&of(lines), &exceptions).len(), 1, "{lines} lines");
    }
    assert_eq!(too_long(&[], &exceptions).len(), 1);
}

#[test]
fn a_document_with_another_constant_is_found_out() {
    let sources =
        with("model/a.rs", "pub(crate) const MAGIC: [u8; 8] = *b\"taskledg\";\nconst C: u32 = super::seq::A as u32;");
    let of = |row: &str| {
        false_constants(&format!("# Format\n## Constants\n|a|b|\n|---|---|\n{row}\n## More\n| A | 3 |\n"), &sources)
    };
    for row in ["| `A` | 16 | bytes |", "| B | 32 |", "| MAGIC | `taskledg` |", "| C | 0x10 |", "| C | `16` |"] {
        assert_eq!(of(row), [""; 0], "{row}");
    }
    for row in ["| A | 17 |", "| B | 16 KiB |", "| MAGIC | taskledh |", "| D | 1 |", ""] {
        assert_eq!(of(row).len(), 1, "{row}");
    }
}

//! Files as listings that a person can read and compare, for those that are committed. The fuzz targets use it too.

use std::fmt::Write as _;
use std::path::Path;

use super::bytes::{Files, put};

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").expect("a string takes all");
        out
    })
}

/// Its length, then every 32 bytes that are not all zero, each with its offset.
pub fn to_hex(bytes: &[u8]) -> String {
    let mut out = format!("length: {}\n", bytes.len());
    for (n, row) in bytes.chunks(32).enumerate() {
        if row.iter().any(|&byte| byte != 0) {
            writeln!(out, "{}: {}", n * 32, hex(row)).expect("a string takes all");
        }
    }
    out
}

pub fn from_hex(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for line in text.lines() {
        let (offset, value) = line.split_once(": ").expect("a line has an offset and bytes");
        if offset == "length" {
            out.resize(value.parse().expect("a length is a number"), 0);
            continue;
        }
        let digits = value.as_bytes().chunks(2);
        let byte = |pair: &[u8]| u8::from_str_radix(&String::from_utf8_lossy(pair), 16).expect("two hex digits");
        let row: Vec<u8> = digits.map(byte).collect();
        put(&mut out, offset.parse().expect("an offset is a number"), &row);
    }
    out
}

/// The files that are listed in a folder.
pub fn read(dir: &Path) -> Files {
    let listed = std::fs::read_dir(dir).expect("the listings are there");
    let paths = listed.map(|item| item.expect("the folder can be listed").path());
    let hexes = paths.filter(|path| path.extension().is_some_and(|extension| extension == "hex"));
    hexes
        .map(|path| {
            let stem = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
            let name = match stem.rsplit_once('.') {
                Some((_, "log")) => format!("log/{stem}"),
                Some((_, "idx")) => format!("idx/{stem}"),
                Some((name, "snap")) if name.contains('-') => format!("floor/{stem}"),
                Some((_, "snap")) => format!("snap/{stem}"),
                _ => stem,
            };
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (name, from_hex(&text))
        })
        .collect()
}

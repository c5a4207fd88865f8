//! `backup`: copies a ledger beside its writer, and again only what is new.

use std::io::Write;

use taskledger::Backup;

use crate::cli::args::Setting;
use crate::cli::doing::BackupArgs;
use crate::cli::fail::Failure;
use crate::cli::look;
use crate::cli::out::{Form, Object, Out, Progress};
use crate::cli::text::{bytes, count, safe};

pub(crate) fn run(args: &BackupArgs, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    let mut progress = Progress::of_bytes(out.form);
    let options = args.making.options();
    let done = options.backup(&setting.dir, &args.to, &mut |so_far| progress.show(so_far.done, Some(so_far.all)));
    drop(progress);
    let done = done?;
    let path = look::whole_path(&args.to)?;
    match out.form {
        Form::Json => out.json(&object(path, &done))?,
        Form::People => print(&path, &done, out)?,
    }
    Ok(0)
}

fn object(path: String, done: &Backup) -> Object {
    let object = Object::new("taskledger.backup/1").with("path", path);
    let object = object.with("oldest", done.oldest.0).with("seq", done.last.0).with("entries", done.entries);
    object.with("copied", done.copied).with("kept", done.kept).with("bytes", done.bytes)
}

fn print(path: &str, done: &Backup, out: &mut Out) -> Result<(), Failure> {
    let path = safe(path);
    let has = match done.last.0 {
        0 => "no entry".to_owned(),
        last => format!("seq {} to {last}", done.oldest),
    };
    let kept = match done.kept {
        0 => String::new(),
        kept => format!("; {} there already", count(kept, "was", "were")),
    };
    writeln!(
        out,
        "{path} has {has}, {} new: {} copied ({}){kept}",
        done.entries,
        count(done.copied, "segment", "segments"),
        bytes(done.bytes),
    )?;
    Ok(())
}

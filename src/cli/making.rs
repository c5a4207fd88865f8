//! How files are made, as typed after the commands that make some.

use taskledger::{Options, limits};

/// How files are made.
#[derive(Debug, clap::Args)]
pub(crate) struct Making {
    /// The largest size of a segment that this command makes, in bytes
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(limits::SEGMENT_BYTES_MIN..=limits::SEGMENT_BYTES_MAX))]
    pub segment_size: Option<u64>,
    #[command(flatten)]
    pub modes: Modes,
}

/// Who may use the files that are made.
#[derive(Debug, clap::Args)]
pub(crate) struct Modes {
    /// Permission bits of the directories that this command makes, less the umask [default: 700]
    #[arg(long, value_name = "OCTAL", value_parser = dir_mode)]
    pub dir_mode: Option<u32>,
    /// Permission bits of the files that this command makes, less the umask [default: 600]
    #[arg(long, value_name = "OCTAL", value_parser = file_mode)]
    pub file_mode: Option<u32>,
}

impl Making {
    /// The defaults, with what was typed in their place.
    pub(crate) fn options(&self) -> Options {
        self.segment_size.into_iter().fold(self.modes.options(), Options::segment_size)
    }
}

impl Modes {
    /// The defaults, with what was typed in their place.
    pub(crate) fn options(&self) -> Options {
        let options = self.dir_mode.into_iter().fold(Options::new(), Options::dir_mode);
        self.file_mode.into_iter().fold(options, Options::file_mode)
    }
}

/// Permission bits that let the owner do what a writer must.
fn mode(text: &str, needed: u32, why: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode > 0o777 => Err("the highest is 777".to_owned()),
        Ok(mode) if mode & needed != needed => Err(format!("the owner must be able to {why}: at least {needed:o}")),
        Ok(mode) => Ok(mode),
        Err(_) => Err("it is no octal number, such as 750".to_owned()),
    }
}

fn dir_mode(text: &str) -> Result<u32, String> {
    mode(text, 0o700, "list, write and enter")
}

fn file_mode(text: &str) -> Result<u32, String> {
    mode(text, 0o600, "read and write")
}

//! The command line tool. It sees only what the library makes public.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}

//! What may be typed after the commands that do something to a ledger as a whole. Nothing here acts on it.

use taskledger::At;

use crate::cli::moment;

pub(crate) const PRUNE_EXAMPLES: &str = "\
Examples:
  taskledger prune --before '90 days ago'
  taskledger prune --before '90 days ago' --actor ops --reason 'kept for a quarter' --yes
  taskledger prune --before seq:1000000 --force --yes

Without --yes nothing is changed, and no lock is taken: it says what would go, what stays
and why. With seq:N the entries before that one go. Segments go whole, so that some of
what is older stays. A task that has not come to its end keeps its segment and all later
ones; with --force it does not.

Exit codes: 0 (also where nothing goes), 1, 2, 3, 5, 10, 11, 12 and 13 (the actor or the
reason was refused); `taskledger --help` explains them.";

pub(crate) const SNAPSHOT_EXAMPLES: &str = "\
Examples:
  taskledger snapshot -D /srv/runs
  taskledger snapshot --json

Exit codes: 0 (also where there is one already, or nothing to make one of), 1, 2, 5, 10,
11 and 12; `taskledger --help` explains them.";

#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// Entries before this moment: 90d, 2026-03-01, or seq:N for those before an entry
    #[arg(long, value_name = "MOMENT", value_parser = moment::moment, allow_hyphen_values = true)]
    pub before: At,
    /// Also the entries of tasks that have not come to their end; their records stay
    #[arg(long)]
    pub force: bool,
    /// Who wants it; the entry that tells of it says so
    #[arg(long, value_name = "A")]
    pub actor: Option<String>,
    /// Why
    #[arg(long, value_name = "R")]
    pub reason: Option<String>,
    /// Do it
    #[arg(long)]
    pub yes: bool,
}

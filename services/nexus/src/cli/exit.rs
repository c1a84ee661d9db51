//! What a client command's exit code means. Scripts depend on these numbers; they do not change.

use std::process::ExitCode;

/// The table that `--help` prints.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done; for a run: it completed
  1  it failed; for `doctor`: something is broken
  2  the command line is wrong
  3  the platform cannot be reached
  4  the run was cancelled
  5  the run's budget is exhausted
  6  policy denies it";

/// How a client command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All went well.
    Done,
    /// The run or the command failed.
    Failed,
    /// The command line is wrong.
    Usage,
    /// The platform does not answer.
    Unreachable,
    /// The run was stopped.
    Cancelled,
    /// The ledger had too little.
    BudgetExhausted,
    /// Policy said no.
    Denied,
}

impl Exit {
    /// The number.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Cancelled => 4,
            Self::BudgetExhausted => 5,
            Self::Denied => 6,
        }
    }

    /// How a run ended, by its terminal status and the code of its error.
    pub(crate) fn of_run(status: &str, error_code: Option<&str>) -> Self {
        match (status, error_code) {
            ("completed", _) => Self::Done,
            ("cancelled", _) => Self::Cancelled,
            (_, Some("budget_exhausted")) => Self::BudgetExhausted,
            (_, Some("policy_denied")) => Self::Denied,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_every_code() {
        let all = [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::Unreachable,
            Exit::Cancelled,
            Exit::BudgetExhausted,
            Exit::Denied,
        ];
        for (number, exit) in all.into_iter().enumerate() {
            assert_eq!(usize::from(exit.code()), number);
            assert!(HELP.contains(&format!("\n  {number}  ")), "{number}");
        }
    }

    #[test]
    fn a_run_that_ended_says_why_by_its_code() {
        assert_eq!(Exit::of_run("completed", None), Exit::Done);
        assert_eq!(Exit::of_run("failed", Some("max_turns")), Exit::Failed);
        assert_eq!(
            Exit::of_run("failed", Some("budget_exhausted")),
            Exit::BudgetExhausted
        );
        assert_eq!(Exit::of_run("failed", Some("policy_denied")), Exit::Denied);
        assert_eq!(Exit::of_run("cancelled", None), Exit::Cancelled);
    }
}

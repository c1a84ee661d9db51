//! What goes wrong for a client, in words that say what to do next.

use std::path::PathBuf;

use nexus_events::Problem;

use super::exit::Exit;
use super::style::{Style, Tone, printable};

/// A client command that could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// Nothing answers.
    #[error("no platform answers at {url}: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        reason: String,
        /// Nobody took the connection, so that nothing was sent.
        refused: bool,
    },
    /// The platform stopped answering and did not come back in time.
    #[error("the platform at {url} was lost for {waited_s} s: {reason}")]
    Lost {
        /// Where.
        url: String,
        /// How long it was waited for.
        waited_s: u64,
        /// Why.
        reason: String,
    },
    /// The platform says no.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// What answers is not this platform, or of another version.
    #[error("the answer of {url} cannot be read: {reason}")]
    Answer {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// A file of `nexus up` that cannot be used.
    #[error("{path} cannot be used: {reason}")]
    Endpoints {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Nobody says where the servers are.
    #[error("it is not known where the servers are")]
    NoServers {
        /// The flag that would say so.
        flag: &'static str,
        /// The file that would.
        place: Option<PathBuf>,
    },
    /// A server of the platform cannot be used.
    #[error("{what}: {reason}")]
    Server {
        /// Which, and where.
        what: String,
        /// Why.
        reason: String,
    },
    /// The command line asks for something that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A bundle that does not compile, or whose tests fail.
    #[error("{0}")]
    Tests(String),
    /// An archive of the audit log that is not whole, or not the one that the tables go on from.
    #[error("{0}")]
    Archive(String),
    /// Reading or writing on this side.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

impl CliError {
    /// Wraps an error of reading or writing.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// Wraps an error of a server.
    pub(crate) fn server<E: std::error::Error>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |error| Self::Server {
            what,
            reason: chain(&error),
        }
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } | Self::NoServers { .. } => {
                Exit::Unreachable
            }
            Self::Server { .. } => Exit::Unreachable,
            Self::Usage(_) => Exit::Usage,
            Self::Problem(problem) => match (problem.code.as_str(), problem.status) {
                ("budget_exhausted", _) => Exit::BudgetExhausted,
                ("policy_denied", _) => Exit::Denied,
                (_, 400 | 422) => Exit::Usage,
                (_, 503 | 504) => Exit::Unreachable,
                _ => Exit::Failed,
            },
            Self::Answer { .. }
            | Self::Endpoints { .. }
            | Self::Io { .. }
            | Self::Tests(_)
            | Self::Archive(_) => Exit::Failed,
        }
    }

    /// Says it on standard error; gives the exit code.
    pub(crate) fn report(&self) -> Exit {
        if self.is_closed_pipe() {
            return Exit::Done;
        }
        eprint!("{}", self.render(Style::stderr()));
        self.exit()
    }

    /// `nexus runs list | head` is no error.
    fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// What to do next.
    fn advice(&self) -> Option<String> {
        let advice = match self {
            Self::Unreachable { .. } => "start it with `nexus up`, or pass --url".to_owned(),
            Self::Lost { .. } => {
                "what was accepted goes on by itself; see `nexus runs list` once it is back"
                    .to_owned()
            }
            Self::Problem(problem) => return advice_for(problem).map(str::to_owned),
            Self::Answer { .. } => "is --url the gateway of a Nexus of this version?".to_owned(),
            Self::Endpoints { path, .. } => {
                format!(
                    "remove {} if no `nexus up` runs there, or pass --url",
                    path.display()
                )
            }
            Self::NoServers { flag, place } => match place {
                Some(place) => format!(
                    "start the platform with `nexus up` (there is no {}), or pass {flag}",
                    place.display()
                ),
                None => format!("pass {flag}"),
            },
            Self::Server { .. } => "`nexus doctor` looks closer".to_owned(),
            Self::Usage(_) => "see --help".to_owned(),
            Self::Io { .. } | Self::Tests(_) | Self::Archive(_) => return None,
        };
        Some(advice)
    }

    /// Everything that there is to say, as lines for standard error.
    pub(crate) fn render(&self, style: Style) -> String {
        let mut out = format!(
            "{}: {}\n",
            style.paint(Tone::Bad, "error"),
            printable(&chain(self))
        );
        let mut more = |name: &str, text: &str| {
            let name = style.paint(Tone::Dim, &format!("{name:>7}"));
            out.push_str(&format!("{name}: {}\n", printable(text)));
        };
        if let Self::Problem(problem) = self {
            if let Some(field) = &problem.field {
                more("field", field);
            }
            more("code", &format!("{} ({})", problem.code, problem.status));
        }
        if let Some(advice) = self.advice() {
            more("next", &advice);
        }
        out
    }
}

fn advice_for(problem: &Problem) -> Option<&'static str> {
    Some(match (problem.code.as_str(), problem.status) {
        ("session_busy", _) => "wait for its run with `nexus watch RUN_ID`, or cancel it",
        ("budget_exhausted", _) => "`nexus budgets list` shows what is left and who holds it",
        ("policy_denied", _) => "`nexus audit list` shows the rule that decided",
        (_, 401) => "set NEXUS_API_KEY to a key; `nexus keys create` makes one",
        (_, 403) => "another key may; on the loopback, another --user, --role or --tenant",
        (_, 404) => "is it another tenant's? see --tenant",
        (_, 413) => "send less at once",
        (_, 429) => "wait a little, then try again",
        (_, 503 | 504) => "try again; `nexus doctor` shows what is behind",
        (_, 500..) => "the platform's log says more",
        _ => return None,
    })
}

/// An error with its causes, each said once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_there_says_how_to_start_it() {
        let error = CliError::Unreachable {
            url: "http://127.0.0.1:8080".to_owned(),
            reason: "connection refused".to_owned(),
            refused: true,
        };
        let expected = "\
error: no platform answers at http://127.0.0.1:8080: connection refused
   next: start it with `nexus up`, or pass --url
";
        assert_eq!(error.render(Style::PLAIN), expected);
        assert_eq!(error.exit(), Exit::Unreachable);
    }

    #[test]
    fn a_problem_names_field_and_code() {
        let problem = Problem::new(422, "invalid", "model: \"x\" is not known here").at("model");
        let expected = "\
error: model: \"x\" is not known here
  field: model
   code: invalid (422)
";
        assert_eq!(
            CliError::Problem(Box::new(problem)).render(Style::PLAIN),
            expected
        );
    }

    #[test]
    fn problems_have_their_exit_codes() {
        for (status, code, exit) in [
            (409, "session_busy", Exit::Failed),
            (402, "budget_exhausted", Exit::BudgetExhausted),
            (403, "policy_denied", Exit::Denied),
            (503, "projection_behind", Exit::Unreachable),
            (422, "invalid", Exit::Usage),
        ] {
            let problem = Problem::new(status, code, "no");
            assert_eq!(CliError::Problem(Box::new(problem)).exit(), exit, "{code}");
        }
    }

    #[test]
    fn a_cause_is_said_once() {
        let inner = std::io::Error::other("disk full");
        let error = CliError::io("cannot write x")(inner);
        assert_eq!(chain(&error), "cannot write x: disk full");
    }
}

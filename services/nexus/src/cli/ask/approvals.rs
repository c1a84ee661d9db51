//! `nexus approvals`.

use std::path::{Path, PathBuf};

use nexus_events::{ApprovalId, RunId};
use serde_json::{Map, Value};

use super::{Asker, Paging, body};
use crate::cli::error::CliError;
use crate::cli::fields;

/// More than the platform takes as arguments.
const MOST_BYTES: u64 = 1 << 20;

/// Questions of policy to people, and their answers.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ApprovalsVerb {
    /// Questions, the newest first
    List {
        /// pending, approved, denied, expired or void; all of them when absent
        #[arg(long)]
        status: Option<String>,
        /// Of this run
        #[arg(long, value_name = "ID")]
        run: Option<RunId>,
        /// That this role may answer
        #[arg(long, value_name = "ROLE")]
        answerable_by: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// One question: what is to be done, who may answer, and who did
    Show {
        /// The question
        approval_id: ApprovalId,
    },
    /// Let it go ahead
    Approve {
        #[command(flatten)]
        answer: AnswerArgs,
        /// `subject` of what you saw: refused where something else is asked by now
        #[arg(long, value_name = "DIGEST")]
        subject: Option<String>,
        /// A JSON file with what the tool is to be called with instead; policy sees it again
        #[arg(long, value_name = "FILE")]
        arguments: Option<PathBuf>,
    },
    /// Do not let it
    Deny(AnswerArgs),
}

/// Which question, and why the answer is what it is.
#[derive(Debug, clap::Args)]
pub(crate) struct AnswerArgs {
    /// The question
    approval_id: ApprovalId,
    /// Why, for the log
    #[arg(long)]
    reason: Option<String>,
}

impl ApprovalsVerb {
    /// Does it.
    ///
    /// # Errors
    /// [`CliError`].
    pub(crate) async fn run(self, asker: &Asker) -> Result<(), CliError> {
        match self {
            Self::List {
                status,
                run,
                answerable_by,
                paging,
            } => {
                let mut query = paging.query();
                query.extend([
                    ("status", status),
                    ("run_id", run.map(|id| id.to_string())),
                    ("role", answerable_by),
                ]);
                let path = ["v1", "approvals"];
                asker.list(&path, query, fields::APPROVALS).await
            }
            Self::Show { approval_id } => {
                let path = ["v1", "approvals", &approval_id.to_string()];
                let question = asker.get(&path).await?;
                asker.output.one(fields::APPROVAL, &question)?;
                let answers = question.get("answers");
                asker.output.part("Answers", fields::ANSWERS, answers)
            }
            Self::Approve {
                answer,
                subject,
                arguments,
            } => {
                let arguments = arguments.map(|path| document(&path)).transpose()?;
                let id = answer.approval_id;
                let path = ["v1", "approvals", &id.to_string(), "approve"];
                let body = body([
                    ("reason", answer.reason.map(Value::from)),
                    ("subject", subject.map(Value::from)),
                    ("arguments", arguments.map(Value::Object)),
                ]);
                let done = asker.post(&path, &body).await?;
                asker.output.done(&said(id, "approved", &done), &done)
            }
            Self::Deny(answer) => {
                let id = answer.approval_id;
                let path = ["v1", "approvals", &id.to_string(), "deny"];
                let body = body([("reason", answer.reason.map(Value::from))]);
                let done = asker.post(&path, &body).await?;
                asker.output.done(&said(id, "denied", &done), &done)
            }
        }
    }
}

fn said(id: ApprovalId, what: &str, done: &Value) -> String {
    match done.get("run_id").and_then(Value::as_str) {
        Some(run) => format!("{id} is {what}; watch the run: nexus watch {run}"),
        None => format!("{id} is {what}"),
    }
}

/// A JSON object in a file.
fn document(path: &Path) -> Result<Map<String, Value>, CliError> {
    let cannot = |what: &str| CliError::io(format!("cannot {what} {}", path.display()));
    let about = std::fs::metadata(path).map_err(cannot("read"))?;
    let wrong = |why: &str| CliError::Usage(format!("{} {why}", path.display()));
    if about.len() > MOST_BYTES {
        return Err(wrong("is too long for arguments of a tool"));
    }
    let text = std::fs::read_to_string(path).map_err(cannot("read"))?;
    serde_json::from_str(&text).map_err(|error| wrong(&format!("is no JSON object: {error}")))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[test]
    fn arguments_are_an_object_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("arguments.json");
        std::fs::write(&path, r#"{ "expression": "1+1" }"#).unwrap();
        let read = document(&path).unwrap();
        assert_eq!(read["expression"], "1+1");
        std::fs::write(&path, "[1]").unwrap();
        let error = document(&path).unwrap_err().to_string();
        assert!(error.contains("no JSON object"), "{error}");
        assert!(document(&dir.path().join("none")).is_err());
    }

    #[test]
    fn the_answer_says_what_to_watch() {
        let id = ApprovalId::derive(&["q"]);
        let done = serde_json::json!({ "run_id": "r" });
        let text = said(id, "approved", &done);
        assert!(text.ends_with("is approved; watch the run: nexus watch r"));
    }
}

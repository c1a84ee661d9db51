//! What a run's events come to for the one who called. Pure.

use nexus_events::RunId;
use nexus_events::run::{ApprovalRequested, Resolution, RunEvent, ToolInDoubt};
use serde_json::Value;

use super::arguments::Asked;
use super::question;
use super::reply::Came;
use crate::openai::collect::{Collected, End};

/// A call as far as it is known.
#[derive(Debug)]
pub(super) struct Tale {
    asked: Asked,
    /// What the one call of a tool gave, as JSON text.
    output: Option<String>,
    collected: Collected,
    open: Option<Open>,
    /// A tool was started: cancelling would not take it back.
    pub(super) has_effect: bool,
    /// The run does something else, or for somebody else.
    pub(super) is_strange: bool,
}

/// What a run waits for that only people can give.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Open {
    Question(Box<ApprovalRequested>),
    Doubt(ToolInDoubt),
}

/// Whether anything is made of events of this type.
pub(super) fn matters(type_name: &str) -> bool {
    matches!(
        type_name,
        "nexus.run.started.v1"
            | "nexus.run.policy-decided.v1"
            | "nexus.run.approval-requested.v1"
            | "nexus.run.approval-granted.v1"
            | "nexus.run.approval-denied.v1"
            | "nexus.run.approval-expired.v1"
            | "nexus.run.parked.v1"
            | "nexus.run.llm-completed.v1"
            | "nexus.run.tool-started.v1"
            | "nexus.run.tool-completed.v1"
            | "nexus.run.tool-failed.v1"
            | "nexus.run.tool-in-doubt.v1"
            | "nexus.run.tool-resolved.v1"
            | "nexus.run.completed.v1"
            | "nexus.run.failed.v1"
            | "nexus.run.cancelled.v1"
    )
}

impl Tale {
    pub(super) fn of(asked: Asked) -> Self {
        Self {
            asked,
            output: None,
            collected: Collected::default(),
            open: None,
            has_effect: false,
            is_strange: false,
        }
    }

    /// Takes an event; texts are inline. Gives what there is to say of it, where there is something.
    pub(super) fn take(&mut self, event: &RunEvent) -> Option<String> {
        self.collected.take(event);
        match event {
            RunEvent::RunStarted(started) => {
                self.is_strange = !self.asked.is_done_by(started);
                Some(format!("{} is accepted", self.asked.words()))
            }
            RunEvent::PolicyDecided(decided) => {
                let void = decided.void?;
                self.answered(|asked| asked.approval_id == void);
                None
            }
            RunEvent::ApprovalRequested(asked) => {
                self.open = Some(Open::Question(Box::new(asked.clone())));
                Some(question::words(asked))
            }
            RunEvent::ApprovalGranted(granted) => {
                if granted.missing == 0 {
                    self.answered(|asked| asked.approval_id == granted.approval_id);
                }
                Some(format!("{} approved", granted.approver))
            }
            RunEvent::ApprovalDenied(denied) => {
                self.answered(|asked| asked.approval_id == denied.approval_id);
                Some(denied.words())
            }
            RunEvent::ApprovalExpired(expired) => {
                self.answered(|asked| asked.approval_id == expired.approval_id);
                Some("nobody approved in time".to_owned())
            }
            RunEvent::RunParked(_) => Some("it waits for budget".to_owned()),
            RunEvent::LlmCompleted(done) => Some(format!("turn {}: the model answered", done.turn)),
            RunEvent::ToolStarted(started) => {
                self.has_effect = true;
                Some(format!("{} is called", started.tool))
            }
            RunEvent::ToolCompleted(done) => {
                self.resolved();
                self.gave(done.output.inline());
                Some("it gave a result".to_owned())
            }
            RunEvent::ToolFailed(failed) => {
                self.resolved();
                Some(format!("it failed: {}", failed.code))
            }
            RunEvent::ToolInDoubt(doubt) => {
                self.open = Some(Open::Doubt(doubt.clone()));
                Some(doubt.message.clone())
            }
            RunEvent::ToolResolved(word) => {
                self.resolved();
                if word.resolution == Resolution::Done {
                    self.gave(word.output.as_ref().and_then(|output| output.inline()));
                }
                Some(format!("it was resolved as {}", word.resolution.as_str()))
            }
            _ => None,
        }
    }

    /// Whether it is one call of a tool, without a model.
    pub(super) fn is_tool(&self) -> bool {
        self.asked.is_tool()
    }

    /// What people have to do before it goes on.
    pub(super) fn open(&self) -> Option<&Open> {
        self.open.as_ref()
    }

    /// What it came to, once the run has ended.
    pub(super) fn end(&self) -> Option<Came> {
        Some(match self.collected.end.as_ref()? {
            End::Completed if self.asked.is_tool() => Came {
                value: Some(self.value()),
                ..Came::default()
            },
            End::Completed => Came {
                // What was said before its last tool calls is no part of an agent's answer.
                text: Some(self.collected.texts.last().cloned().unwrap_or_default()),
                ..Came::default()
            },
            End::Failed { code, message } => Came::failed(format!("{code}: {message}")),
            End::Cancelled => Came::failed("cancelled: the run was cancelled"),
        })
    }

    fn value(&self) -> Value {
        let text = self.output.as_deref().unwrap_or("null");
        serde_json::from_str(text).unwrap_or_else(|_| text.into())
    }

    fn gave(&mut self, output: Option<&str>) {
        if self.asked.is_tool() {
            self.output = output.map(str::to_owned);
        }
    }

    fn answered(&mut self, which: impl Fn(&ApprovalRequested) -> bool) {
        self.open = self.open.take().filter(|open| match open {
            Open::Question(asked) => !which(asked),
            Open::Doubt(_) => true,
        });
    }

    fn resolved(&mut self) {
        self.open = self
            .open
            .take()
            .filter(|open| matches!(open, Open::Question(_)));
    }
}

/// A call of which nobody can say whether it took effect.
pub(super) fn doubtful(run: RunId, doubt: &ToolInDoubt) -> Came {
    Came::failed(format!(
        "in_doubt: {}. {} may have taken effect or not, and is not called again by itself. Somebody \
         says what became of it at POST /v1/runs/{run}/tool-calls/{}/resolve, or with `nexus tools \
         resolve`; do not call it again before that is known.",
        doubt.message.trim_end_matches('.'),
        doubt.tool,
        doubt.call_id,
    ))
}

//! What a run's events come to as one answer. Pure.

use nexus_events::model::{FinishReason, ToolCall, Usage};
use nexus_events::run::RunEvent;

/// What stands between the texts of two turns.
pub(crate) const BETWEEN_TURNS: &str = "\n\n";

/// What was said until now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collected {
    /// What the model said in each turn that has its answer.
    pub(crate) texts: Vec<String>,
    /// The calls of the last of them; once the run has ended, those for the client.
    pub(crate) calls: Vec<ToolCall>,
    pub(crate) finish: Option<FinishReason>,
    pub(crate) usage: Usage,
    pub(crate) end: Option<End>,
}

/// How the run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With an answer.
    Completed,
    /// Without one.
    Failed {
        /// Stable code.
        code: String,
        /// What happened.
        message: String,
    },
    /// Somebody stopped it.
    Cancelled,
}

impl Collected {
    /// Takes an event; texts are inline.
    pub(crate) fn take(&mut self, event: &RunEvent) {
        match event {
            RunEvent::LlmCompleted(done) => {
                self.spend(&done.usage);
                self.texts.extend(
                    done.text
                        .inline()
                        .map(str::to_owned)
                        .filter(|t| !t.is_empty()),
                );
                self.calls.clone_from(&done.tool_calls);
                self.finish = Some(done.finish);
            }
            RunEvent::ContextSummarised(done) => self.spend(&done.call.usage),
            RunEvent::TextsEmbedded(done) => self.spend(&done.call.usage),
            RunEvent::LlmFailed(failed) => self.spend(&failed.usage),
            RunEvent::LlmAborted(aborted) => self.spend(&aborted.usage),
            RunEvent::RunCompleted(done) => {
                let handed = &done.client_calls;
                self.calls
                    .retain(|call| handed.iter().any(|given| given.call_id == call.id));
                self.end = Some(End::Completed);
            }
            RunEvent::RunFailed(failed) => {
                self.end = Some(End::Failed {
                    code: failed.code.clone(),
                    message: failed.message.clone(),
                });
            }
            RunEvent::RunCancelled(_) => self.end = Some(End::Cancelled),
            _ => {}
        }
    }

    /// All that was said: the same that a stream of it gave.
    pub(crate) fn content(&self) -> Option<String> {
        match self.texts.is_empty() {
            true if !self.calls.is_empty() => None,
            _ => Some(self.texts.join(BETWEEN_TURNS)),
        }
    }

    fn spend(&mut self, usage: &Usage) {
        let sum = &mut self.usage;
        sum.input_tokens = sum.input_tokens.saturating_add(usage.input_tokens);
        sum.output_tokens = sum.output_tokens.saturating_add(usage.output_tokens);
        sum.cached_input_tokens =
            (sum.cached_input_tokens).saturating_add(usage.cached_input_tokens);
        sum.cache_write_tokens = (sum.cache_write_tokens).saturating_add(usage.cache_write_tokens);
    }
}

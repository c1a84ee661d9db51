//! What a model can do, and the check before anything is sent. Providers answer such requests with
//! errors of their own, some after the prompt was billed, some in words that nobody understands.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::embed::{self, EmbedRequest, Embeddings};
use super::error::{Failure, ProviderError};
use super::{CallLimits, ChatRequest, Completion, Provider, Sink, ToolChoice};

/// Something that a model can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// It answers conversations.
    Chat,
    /// It calls tools.
    Tools,
    /// It can be made to call tools, or one of them.
    ForcedTools,
    /// It keeps to a JSON Schema.
    JsonSchema,
    /// It takes a temperature and a share of the likeliest tokens.
    Sampling,
    /// It makes vectors of texts.
    Embeddings,
}

/// What a model can do.
pub type Capabilities = BTreeSet<Capability>;

/// Of a model of which nothing else is known.
pub(super) fn usual() -> Capabilities {
    use Capability::{Chat, ForcedTools, JsonSchema, Sampling, Tools};
    [Chat, Tools, ForcedTools, JsonSchema, Sampling].into()
}

/// A provider as one of its models may be asked.
pub(super) struct Checked {
    inner: Arc<dyn Provider>,
    model: String,
    can: Capabilities,
}

impl Checked {
    pub(super) fn new(inner: Arc<dyn Provider>, model: &str, can: Capabilities) -> Self {
        Self {
            inner,
            model: model.to_owned(),
            can,
        }
    }

    fn lacks(
        &self,
        needed: impl IntoIterator<Item = (Capability, bool, &'static str)>,
    ) -> Option<Failure> {
        let missing = (needed.into_iter())
            .find(|(capability, needed, _)| *needed && !self.can.contains(capability));
        let (_, _, what) = missing?;
        Some(Failure::Permanent {
            status: None,
            code: "unsupported_by_model".to_owned(),
            message: format!(
                "model {} {what}; ask another model, or correct its `capabilities` in the configuration",
                self.model
            ),
        })
    }
}

/// A tool that must be called and that the model is not told of.
fn not_offered(request: &ChatRequest) -> Option<Failure> {
    let ToolChoice::Named(name) = &request.tool_choice else {
        return None;
    };
    if request.tools.iter().any(|tool| tool.name == *name) {
        return None;
    }
    Some(Failure::Permanent {
        status: None,
        code: "tool_not_offered".to_owned(),
        message: format!("the tool {name} must be called, and is none of those that are offered"),
    })
}

/// What a conversation needs, whether this one does, and what is said where it is not there.
fn needed(request: &ChatRequest) -> [(Capability, bool, &'static str); 5] {
    let tools = !request.tools.is_empty();
    let forced = matches!(
        request.tool_choice,
        ToolChoice::Required | ToolChoice::Named(_)
    );
    // One is what everybody takes if nothing is said.
    let unusual = |share: Option<f32>| share.is_some_and(|share| share != 1.0);
    let sampling = unusual(request.temperature) || unusual(request.top_p);
    let schema = request.response_schema.is_some();
    [
        (Capability::Chat, true, "answers no conversations"),
        (Capability::Tools, tools, "calls no tools"),
        (
            Capability::ForcedTools,
            tools && forced,
            "cannot be made to call a tool (tool_choice)",
        ),
        (
            Capability::JsonSchema,
            schema,
            "keeps to no JSON Schema (response_format)",
        ),
        (
            Capability::Sampling,
            sampling,
            "takes neither temperature nor top_p",
        ),
    ]
}

impl Provider for Checked {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn complete<'a>(
        &'a self,
        request: &'a ChatRequest,
        limits: &'a CallLimits,
        sink: &'a mut Sink<'_>,
    ) -> BoxFuture<'a, Result<Completion, ProviderError>> {
        match self.lacks(needed(request)).or_else(|| not_offered(request)) {
            Some(failure) => Box::pin(std::future::ready(Err(embed::unsent(failure)))),
            None => self.inner.complete(request, limits, sink),
        }
    }

    fn embed<'a>(
        &'a self,
        request: &'a EmbedRequest,
        limits: &'a CallLimits,
    ) -> BoxFuture<'a, Result<Embeddings, ProviderError>> {
        match self.lacks([(Capability::Embeddings, true, "makes no embeddings")]) {
            Some(failure) => Box::pin(std::future::ready(Err(embed::unsent(failure)))),
            None => self.inner.embed(request, limits),
        }
    }
}

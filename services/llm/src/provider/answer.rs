//! An answer as it comes together from the pieces of a stream. Without sockets or clocks of its own,
//! so that what counts as an answer can be read in one place.

use std::time::Duration;

use nexus_events::model::{FinishReason, ToolCall, Usage};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::bound;
use super::content_calls::{Found, Recogniser};
use super::error::{Failure, Partial, ProviderError};
use super::wire::{CallDelta, Chunk, ErrorBody};
use super::{ChatRequest, Completion, Delta, Sink};

/// Most tool calls of one answer.
const MAX_TOOL_CALLS: usize = 128;
/// Longest id or name that is taken over from a server, in bytes.
const MAX_NAME_BYTES: usize = 512;

pub(super) struct Answer<'r> {
    request: &'r ChatRequest,
    started: Instant,
    max_bytes: usize,
    /// Bytes of everything generated, thoughts and held text included.
    seen_bytes: usize,
    text: String,
    calls: Vec<Call>,
    finish: Option<FinishReason>,
    reported: Option<Usage>,
    reported_whole: bool,
    /// The provider bills what it writes into its cache apart.
    writes_cache: bool,
    response_id: Option<String>,
    response_model: Option<String>,
    first: Option<Duration>,
    recogniser: Option<Recogniser>,
}

#[derive(Debug, Default)]
struct Call {
    wire_index: Option<u32>,
    wire_id: Option<String>,
    id: String,
    name: String,
    arguments: String,
}

impl<'r> Answer<'r> {
    pub(super) fn new(request: &'r ChatRequest, max_bytes: usize, calls_in_text: bool) -> Self {
        let reads_text = calls_in_text && !request.tools.is_empty();
        let names = || request.tools.iter().map(|tool| tool.name.clone());
        Self {
            request,
            started: Instant::now(),
            max_bytes,
            seen_bytes: 0,
            text: String::new(),
            calls: Vec::new(),
            finish: None,
            reported: None,
            reported_whole: false,
            writes_cache: false,
            response_id: None,
            response_model: None,
            first: None,
            recogniser: reads_text.then(|| Recogniser::new(names())),
        }
    }

    /// The model said why it stopped: what may still come is the usage.
    pub(super) fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    pub(super) fn take(&mut self, chunk: Chunk, sink: &mut Sink<'_>) -> Result<(), Failure> {
        if let Some(error) = &chunk.error {
            return Err(Failure::transient(ErrorBody::of(error).message));
        }
        if let Some(usage) = chunk.usage() {
            self.report(usage, true);
        }
        self.heard_from(chunk.id, chunk.model);
        for choice in chunk
            .choices
            .into_iter()
            .flatten()
            .filter(|c| c.index.unwrap_or(0) == 0)
        {
            let delta = choice.delta.unwrap_or_default();
            if let Some(Value::String(thought)) = &delta.reasoning_content {
                self.count(thought.len())?;
            }
            for fragment in [delta.content, delta.refusal].into_iter().flatten() {
                self.content(&fragment, sink)?;
            }
            for call in delta.tool_calls.into_iter().flatten() {
                self.call(call, sink)?;
            }
            if let Some(reason) = choice.finish_reason {
                self.stopped(finish_reason(&reason));
            }
        }
        Ok(())
    }

    /// Why the model stopped.
    pub(super) fn stopped(&mut self, reason: FinishReason) {
        self.finish = Some(reason);
    }

    /// The prompt may be written into the provider's cache, which is billed apart.
    pub(super) fn may_write_cache(&mut self) {
        self.writes_cache = true;
    }

    /// What the provider says of usage; `whole` where it covers all that was generated.
    pub(super) fn report(&mut self, usage: Usage, whole: bool) {
        self.reported = Some(usage);
        self.reported_whole = whole;
    }

    /// The last report.
    pub(super) fn reported(&self) -> Option<Usage> {
        self.reported
    }

    /// Who answers, by the first piece that says so.
    pub(super) fn heard_from(&mut self, id: Option<String>, model: Option<String>) {
        let first = |known: Option<String>, now| known.or(now).filter(|text| is_short(text));
        self.response_id = first(self.response_id.take(), id);
        self.response_model = first(self.response_model.take(), model);
    }

    /// The whole answer; what was held as a possible call is decided now.
    pub(super) fn complete(mut self, sink: &mut Sink<'_>) -> Result<Completion, ProviderError> {
        let finish = self.finish.unwrap_or(FinishReason::Stop);
        if let Some(mut recogniser) = self.recogniser.take() {
            let found = recogniser.finish(finish != FinishReason::Length);
            if let Err(failure) = self.found(found, sink) {
                return Err(self.fail(failure, true));
            }
        }
        if self.calls.iter().any(|call| call.name.is_empty()) {
            return Err(self.fail(Failure::malformed("a tool call has no name"), true));
        }
        let finish = match finish {
            FinishReason::Stop if !self.calls.is_empty() => FinishReason::ToolCalls,
            FinishReason::ToolCalls if self.calls.is_empty() => FinishReason::Stop,
            other => other,
        };
        let usage = self.usage(true);
        Ok(Completion {
            text: self.text,
            tool_calls: self.calls.into_iter().map(Call::whole).collect(),
            finish,
            usage,
            response_id: self.response_id,
            response_model: self.response_model,
            time_to_first_token: self.first,
        })
    }

    /// The failure with what there is. `billable` is false where the provider refused or was never
    /// reached.
    pub(super) fn fail(mut self, failure: Failure, billable: bool) -> ProviderError {
        if let Some(mut recogniser) = self.recogniser.take() {
            for found in recogniser.finish(false) {
                if let Found::Text(text) = found {
                    self.text.push_str(&text);
                }
            }
        }
        let usage = if billable {
            self.usage(self.finish.is_some())
        } else {
            Usage::default()
        };
        let partial = Partial {
            text: self.text,
            tool_calls: self.calls.into_iter().map(Call::whole).collect(),
            usage,
            response_id: self.response_id,
            response_model: self.response_model,
            time_to_first_token: self.first,
        };
        ProviderError {
            failure,
            partial: Box::new(partial),
        }
    }

    /// What the provider reported, where that can be believed, else bounds from above. Figures that
    /// came before the end do not cover what came after them.
    fn usage(&self, ended: bool) -> Usage {
        let bound = self.bound();
        let Some(mut usage) = self.reported else {
            return bound;
        };
        if usage.input_tokens == 0 {
            usage.input_tokens = bound.input_tokens;
            usage.cache_write_tokens = bound.cache_write_tokens;
            usage.estimated = true;
        }
        if !ended || !self.reported_whole || (usage.output_tokens == 0 && self.seen_bytes > 0) {
            usage.output_tokens = usage.output_tokens.max(bound.output_tokens);
            usage.estimated = true;
        }
        usage
    }

    fn bound(&self) -> Usage {
        let max = u64::from(self.request.max_tokens);
        let seen = bound::tokens(self.seen_bytes);
        Usage {
            input_tokens: bound::input(self.request),
            // The dearest that they can have been, where that has a price.
            cache_write_tokens: if self.writes_cache {
                bound::input(self.request)
            } else {
                0
            },
            output_tokens: if self.request.hidden_output {
                max
            } else {
                seen.min(max)
            },
            cached_input_tokens: 0,
            estimated: true,
        }
    }

    /// Counts what was generated, shown or not.
    pub(super) fn count(&mut self, bytes: usize) -> Result<(), Failure> {
        if bytes == 0 {
            return Ok(());
        }
        self.first.get_or_insert_with(|| self.started.elapsed());
        self.seen_bytes = self.seen_bytes.saturating_add(bytes);
        match self.seen_bytes > self.max_bytes {
            true => Err(Failure::malformed(format!(
                "more than {} bytes",
                self.max_bytes
            ))),
            false => Ok(()),
        }
    }

    /// The next part of the text.
    pub(super) fn content(&mut self, fragment: &str, sink: &mut Sink<'_>) -> Result<(), Failure> {
        self.count(fragment.len())?;
        match &mut self.recogniser {
            Some(recogniser) => {
                let found = recogniser.push(fragment);
                self.found(found, sink)
            }
            None => {
                self.emit(fragment, sink);
                Ok(())
            }
        }
    }

    fn emit(&mut self, text: &str, sink: &mut Sink<'_>) {
        if !text.is_empty() {
            self.text.push_str(text);
            sink(Delta::Text(text));
        }
    }

    fn found(&mut self, found: Vec<Found>, sink: &mut Sink<'_>) -> Result<(), Failure> {
        for item in found {
            match item {
                Found::Text(text) => self.emit(&text, sink),
                Found::Call { name, arguments } => {
                    let arguments = arguments.to_string();
                    // Small models fall into repeating themselves.
                    if self
                        .calls
                        .iter()
                        .any(|c| c.name == name && c.arguments == arguments)
                    {
                        continue;
                    }
                    let index = self.open_call(None, None)?;
                    self.extend_call(index, &name, &arguments, sink);
                }
            }
        }
        Ok(())
    }

    /// The next part of a call.
    pub(super) fn call(&mut self, delta: CallDelta, sink: &mut Sink<'_>) -> Result<(), Failure> {
        let function = delta.function.unwrap_or_default();
        let name = function.name.unwrap_or_default();
        let arguments = match function.arguments {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text,
            Some(object) => object.to_string(),
        };
        self.count(name.len().saturating_add(arguments.len()))?;
        let id = delta.id.filter(|id| !id.is_empty());
        if !is_short(&name) || id.as_deref().is_some_and(|id| !is_short(id)) {
            return Err(Failure::malformed("a tool call's id or name is too long"));
        }
        let index = match self.slot(delta.index, id.as_deref(), !name.is_empty()) {
            Some(index) => index,
            None => self.open_call(delta.index, id)?,
        };
        self.extend_call(index, &name, &arguments, sink);
        Ok(())
    }

    /// The call that a fragment continues. By the protocol its index says so; some servers send
    /// index 0 for every call, or none at all.
    fn slot(&self, wire: Option<u32>, id: Option<&str>, named: bool) -> Option<usize> {
        let same = |call: &Call| match (id, &call.wire_id) {
            (Some(id), Some(known)) => id == known,
            _ => true,
        };
        match wire {
            Some(_) => self
                .calls
                .iter()
                .rposition(|c| c.wire_index == wire && same(c)),
            None => {
                let last = self.calls.len().checked_sub(1)?;
                let begins = named && self.calls.get(last).is_some_and(|c| !c.name.is_empty());
                (self.calls.get(last).is_some_and(same) && !(begins && id.is_none()))
                    .then_some(last)
            }
        }
    }

    /// A new call. Where the server gives no id, or one twice, it follows from the place in the
    /// conversation: the same answer read twice has the same ids.
    fn open_call(&mut self, wire: Option<u32>, id: Option<String>) -> Result<usize, Failure> {
        let index = self.calls.len();
        if index == MAX_TOOL_CALLS {
            return Err(Failure::malformed(format!(
                "more than {MAX_TOOL_CALLS} tool calls"
            )));
        }
        let free = id
            .clone()
            .filter(|id| self.calls.iter().all(|call| call.id != *id));
        let turn = self.request.messages.len();
        self.calls.push(Call {
            wire_index: wire,
            wire_id: id,
            id: free.unwrap_or_else(|| format!("call_{turn}_{index}")),
            ..Call::default()
        });
        Ok(index)
    }

    fn extend_call(&mut self, index: usize, name: &str, arguments: &str, sink: &mut Sink<'_>) {
        let Some(call) = self.calls.get_mut(index) else {
            return;
        };
        if call.name.is_empty() {
            call.name.push_str(name);
        }
        call.arguments.push_str(arguments);
        sink(Delta::ToolCall {
            index,
            id: &call.id,
            name: &call.name,
            arguments,
        });
    }
}

impl Call {
    fn whole(self) -> ToolCall {
        let arguments = match self.arguments.trim() {
            "" => Value::Object(Map::new()),
            text => serde_json::from_str(text).unwrap_or_else(|_| self.arguments.into()),
        };
        ToolCall {
            id: self.id,
            name: self.name,
            arguments,
        }
    }
}

fn is_short(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES
}

/// A reason that nobody knows is an ordinary end: the model did stop.
fn finish_reason(reason: &str) -> FinishReason {
    match reason {
        "length" | "max_tokens" | "model_length" => FinishReason::Length,
        "tool_calls" | "tool_use" | "function_call" => FinishReason::ToolCalls,
        "content_filter" | "safety" => FinishReason::ContentFilter,
        _ => FinishReason::Stop,
    }
}

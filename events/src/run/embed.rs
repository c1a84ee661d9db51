//! A run that makes vectors of texts: one call of a model, under the same policy, budget and audit as
//! any other, and no conversation. The vectors are its answer.
//!
//! A way of its own beside all runs was the alternative: idempotency, reservations, failover and
//! what survives a killed worker would have to be there a second time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LlmCompleted, Run, RunCompleted, RunEvent};
use crate::body::Body;
use crate::catalog::Catalog;
use crate::command::StartRun;
use crate::error::DomainError;
use crate::time::Timestamp;

/// Texts of one run.
const MOST_TEXTS: usize = 2_048;
/// Numbers of one vector that may be asked for.
const MOST_DIMENSIONS: u32 = 16_384;

/// Texts of which vectors are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Embed {
    /// The texts: 1 to 2,048, none of them empty.
    pub texts: Vec<String>,
    /// How many numbers each vector is to have, where the model leaves a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u32>,
}

/// The same as an event holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Embedding {
    /// A list of texts as JSON text.
    pub texts: Body,
    /// How many they are.
    pub count: u32,
    /// How many numbers each vector is to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u32>,
}

/// Vectors were made of the texts: the run's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TextsEmbedded {
    /// The call; it has no text.
    pub call: LlmCompleted,
    /// One vector after another, each number as a little-endian 32-bit float, all of it in base64.
    pub vectors: Body,
    /// How many vectors, in the order of the texts.
    pub count: u32,
    /// How many numbers each has.
    pub dimensions: u32,
}

/// The texts of a command as an event holds them.
pub fn texts_text(embed: &Embed) -> String {
    // Strings always encode.
    serde_json::to_string(&embed.texts).unwrap_or_default()
}

/// Checks a command that wants vectors.
pub(super) fn check(
    command: &StartRun,
    catalog: &Catalog,
    most_bytes: usize,
) -> Result<(), DomainError> {
    let Some(Embed { texts, dimensions }) = &command.embed else {
        return Ok(());
    };
    let refuse = |field: &str, reason: String| Err(DomainError::invalid(field, reason));
    let said = [
        ("input", !command.input.is_empty()),
        ("context", !command.context.is_empty()),
        (
            "tools",
            command.tools.as_ref().is_some_and(|t| !t.is_empty()),
        ),
        ("client_tools", !command.client_tools.is_empty()),
        ("sampling", command.sampling.is_some()),
        ("invoke", command.invoke.is_some()),
        ("session_id", command.session_id.is_some()),
    ];
    if let Some((field, _)) = said.into_iter().find(|(_, is_said)| *is_said) {
        return refuse(
            field,
            "nobody is talked to where texts become vectors".to_owned(),
        );
    }
    if !(1..=MOST_TEXTS).contains(&texts.len()) {
        let reason = format!(
            "{} texts; 1 to {MOST_TEXTS} may be given at once",
            texts.len()
        );
        return refuse("embed.texts", reason);
    }
    if let Some(index) = texts.iter().position(String::is_empty) {
        return refuse("embed.texts", format!("text {index} is empty"));
    }
    let bytes: usize = texts.iter().map(String::len).sum();
    if bytes > most_bytes {
        let reason =
            format!("{bytes} bytes are more than the {most_bytes} that this installation takes");
        return refuse("embed.texts", reason);
    }
    if dimensions.is_some_and(|wanted| !(1..=MOST_DIMENSIONS).contains(&wanted)) {
        return refuse(
            "embed.dimensions",
            format!("it must be 1 to {MOST_DIMENSIONS}"),
        );
    }
    match command.model.as_deref() {
        Some(model) if catalog.embedders.contains_key(model) => Ok(()),
        Some(model) => {
            let model: String = model.chars().take(64).collect();
            let known: Vec<_> = catalog.embedders.keys().map(String::as_str).collect();
            let known = known.join(", ");
            refuse(
                "model",
                format!("{model:?} makes no vectors here; those do: {known}"),
            )
        }
        None => refuse("model", "name the model that makes the vectors".to_owned()),
    }
}

/// Records the vectors, and the run's end.
pub(super) fn embedded(run: &Run, done: TextsEmbedded, now: Timestamp) -> Vec<RunEvent> {
    let (usage, cost) = (&done.call.usage, done.call.cost_usd_micros);
    let end = RunCompleted {
        tokens: (run.usage.total_tokens()).saturating_add(usage.total_tokens()),
        cost_usd_micros: run.cost_usd_micros.saturating_add(cost),
        duration_ms: (run.started.as_ref()).map_or(0, |began| now.millis_since(began.at)),
        client_calls: vec![],
    };
    vec![done.into(), end.into()]
}

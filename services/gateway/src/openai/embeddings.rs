//! Vectors that are asked for, the run that they become, and how its answer is given.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use nexus_events::Problem;
use nexus_events::catalog::Catalog;
use nexus_events::command::StartRun;
use nexus_events::model::Usage;
use nexus_events::run::{Embed, RunEvent, TextsEmbedded};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::chunks::Live;
use super::collect::{Collected, End};
use super::follow::Happened;
use super::request::{USER_LABEL, missing_model};
use super::sent::Diverged;
use super::stream::Teller;
use crate::http::ApiError;

const NUMBER_BYTES: usize = size_of::<f32>();

/// Vectors that are asked for. Fields that are not listed are accepted and ignored.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct EmbeddingsRequest {
    /// A model of `/v1/models` that makes vectors.
    model: String,
    /// The texts: one, or a list of 1 to 2,048; none of them empty.
    #[schemars(with = "OneOrMany")]
    input: Input,
    /// How many numbers each vector is to have, where the model leaves a choice.
    #[serde(default)]
    dimensions: Option<u32>,
    /// `float` when absent; `base64` is each vector's little-endian 32-bit floats.
    #[serde(default)]
    encoding_format: Option<Format>,
    /// Who of the client's users asks: a label of the run.
    #[serde(default)]
    user: Option<String>,
}

/// Texts.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Many(Vec<String>),
    /// Tokens, or what is none of it.
    Other(Value),
}

/// As the document has it.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is a schema")]
enum OneOrMany {
    /// One text.
    One(String),
    /// Some.
    Many(Vec<String>),
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// A list of numbers.
    #[default]
    Float,
    /// Their bytes.
    Base64,
}

impl EmbeddingsRequest {
    /// How the vectors are wanted.
    pub(crate) fn format(&self) -> Format {
        self.encoding_format.unwrap_or_default()
    }

    /// The model, as it was named.
    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    /// The run that it becomes, but for the run's id.
    pub(crate) fn into_command(self, catalog: &Catalog) -> Result<StartRun, ApiError> {
        if !catalog.embedders.contains_key(&self.model) {
            return Err(match catalog.get(&self.model) {
                Some(_) => {
                    let detail = "this model answers conversations and makes no vectors";
                    ApiError::invalid("model", detail)
                }
                None => missing_model(&self.model),
            });
        }
        let texts = match self.input {
            Input::One(text) => vec![text],
            Input::Many(texts) => texts,
            Input::Other(other) => return Err(ApiError::invalid("input", not_texts(&other))),
        };
        let label = self.user.map(|user| (USER_LABEL.to_owned(), user));
        Ok(StartRun {
            model: Some(self.model),
            tools: Some(vec![]),
            embed: Some(Embed {
                texts,
                dimensions: self.dimensions,
            }),
            metadata: BTreeMap::from_iter(label),
            ..StartRun::default()
        })
    }
}

/// Why this is no input.
fn not_texts(given: &Value) -> &'static str {
    let is_token = |item: &Value| item.is_number() || item.is_array();
    match given
        .as_array()
        .is_some_and(|items| items.iter().any(is_token))
    {
        true => {
            "lists of tokens are not taken, for what is filtered and counted is text; send texts"
        }
        false => "it must be a text or a list of texts",
    }
}

/// Vectors of texts.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct EmbeddingList {
    /// Always `list`.
    object: &'static str,
    /// One for each text, in their order.
    data: Vec<EmbeddingItem>,
    /// As the request named it.
    model: String,
    /// Tokens that were billed.
    usage: EmbeddingUsage,
}

/// A vector.
#[derive(Debug, Serialize, JsonSchema)]
struct EmbeddingItem {
    /// Always `embedding`.
    object: &'static str,
    /// Which text it is of.
    index: usize,
    /// The vector.
    embedding: Vector,
}

/// A vector as it was wanted.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
enum Vector {
    /// Its numbers.
    Float(Vec<f32>),
    /// Their bytes in base64.
    Base64(String),
}

/// Tokens.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
struct EmbeddingUsage {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// Listens to a run that makes vectors; nothing is told before its end.
#[derive(Default)]
pub(crate) struct Listening {
    collected: Collected,
    made: Option<Box<TextsEmbedded>>,
}

impl Listening {
    /// What was made, and what all calls for it used.
    pub(crate) fn made(self) -> Option<(Box<TextsEmbedded>, Usage)> {
        Some((self.made?, self.collected.usage))
    }
}

impl EmbeddingList {
    /// The answer to a request for vectors of this model; `text` are those that were made, as they are
    /// recorded. None where they are no list of vectors.
    pub(crate) fn new(
        made: &TextsEmbedded,
        text: &str,
        usage: Usage,
        (model, format): (String, Format),
    ) -> Option<Self> {
        Some(Self {
            object: "list",
            data: items(made, text, format)?,
            model,
            usage: EmbeddingUsage {
                prompt_tokens: usage.input_tokens,
                total_tokens: usage.total_tokens(),
            },
        })
    }
}

fn items(made: &TextsEmbedded, text: &str, format: Format) -> Option<Vec<EmbeddingItem>> {
    let bytes = STANDARD.decode(text).ok()?;
    let size = usize::try_from(made.dimensions)
        .ok()?
        .checked_mul(NUMBER_BYTES)?;
    if size == 0 || bytes.len() != size.checked_mul(usize::try_from(made.count).ok()?)? {
        return None;
    }
    let vector = |bytes: &[u8]| match format {
        Format::Base64 => Vector::Base64(STANDARD.encode(bytes)),
        Format::Float => {
            let (numbers, _) = bytes.as_chunks::<NUMBER_BYTES>();
            Vector::Float(numbers.iter().copied().map(f32::from_le_bytes).collect())
        }
    };
    let items = bytes.chunks_exact(size).enumerate();
    let item = |(index, bytes)| EmbeddingItem {
        object: "embedding",
        index,
        embedding: vector(bytes),
    };
    Some(items.map(item).collect())
}

impl Teller for Listening {
    const WAITS: bool = false;

    fn live(&mut self, _: Live) -> Result<Vec<Bytes>, Diverged> {
        Ok(vec![])
    }

    fn happened(&mut self, happened: &Happened, _: bool) -> Result<Vec<Bytes>, Diverged> {
        self.collected.take(&happened.event);
        if let RunEvent::TextsEmbedded(made) = &happened.event {
            self.made = Some(Box::new(made.clone()));
        }
        Ok(vec![])
    }

    fn end(&self) -> Option<&End> {
        self.collected.end.as_ref()
    }

    fn last(&mut self, _: &End) -> Vec<Bytes> {
        vec![]
    }

    fn error(&self, _: &Problem) -> Bytes {
        Bytes::new()
    }

    fn beat(&self) -> Bytes {
        Bytes::new()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use nexus_events::catalog::ModelInfo;
    use nexus_events::model::FinishReason;
    use nexus_events::run::LlmCompleted;
    use serde_json::json;

    use super::*;

    fn catalog() -> Catalog {
        let info = |provider: &str| ModelInfo {
            provider: provider.to_owned(),
            others: vec![],
            context_tokens: 100,
            max_output_tokens: 0,
            price: Default::default(),
            tokenizer: None,
        };
        Catalog {
            models: [("talks".to_owned(), info("p"))].into(),
            embedders: [("embeds".to_owned(), info("p"))].into(),
            ..Catalog::default()
        }
    }

    fn asked(body: Value) -> Result<StartRun, (u16, String)> {
        let request: EmbeddingsRequest = serde_json::from_value(body).unwrap();
        request.into_command(&catalog()).map_err(|refused| {
            let problem = refused.into_problem();
            (problem.status, problem.field.unwrap_or_default())
        })
    }

    #[test]
    fn texts_become_a_run_and_what_is_no_text_is_refused() {
        let run = asked(json!({ "model": "embeds", "input": "one", "user": "u", "dimensions": 3 }));
        let run = run.unwrap();
        let embed = run.embed.unwrap();
        assert_eq!(
            (embed.texts, embed.dimensions),
            (vec!["one".to_owned()], Some(3))
        );
        assert_eq!(run.metadata["user"], "u");
        let many = asked(json!({ "model": "embeds", "input": ["one", "two"] })).unwrap();
        assert_eq!(many.embed.unwrap().texts.len(), 2);
        for (model, input, status, field) in [
            ("embeds", json!([1, 2, 3]), 400, "input"),
            ("embeds", json!([[1, 2], [3]]), 400, "input"),
            ("embeds", json!({ "a": 1 }), 400, "input"),
            ("talks", json!("one"), 400, "model"),
            ("nobody", json!("one"), 404, "model"),
        ] {
            let refused = asked(json!({ "model": model, "input": input }));
            assert_eq!(refused.unwrap_err(), (status, field.to_owned()));
        }
    }

    #[test]
    fn vectors_are_given_as_they_were_made_or_not_at_all() {
        let numbers = [0.5_f32, -1.25, 3.0, f32::MIN_POSITIVE];
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        let text = STANDARD.encode(&bytes);
        let made = |count, dimensions| TextsEmbedded {
            call: LlmCompleted {
                turn: 1,
                provider: "p".into(),
                model: "m".into(),
                text: "".into(),
                tool_calls: vec![],
                finish: FinishReason::Stop,
                usage: Usage::default(),
                cost_usd_micros: 0,
                duration_ms: 0,
                time_to_first_token_ms: None,
                attempts: 1,
                response_id: None,
                route: String::new(),
                routing: None,
                findings: vec![],
                cached: None,
            },
            vectors: text.as_str().into(),
            count,
            dimensions,
        };
        let given = |count, dimensions, format| {
            let items = items(&made(count, dimensions), &text, format)?;
            Some(
                items
                    .into_iter()
                    .map(|item| item.embedding)
                    .collect::<Vec<_>>(),
            )
        };
        let [a, b, c, d] = numbers;
        let floats = vec![Vector::Float(vec![a, b]), Vector::Float(vec![c, d])];
        assert_eq!(given(2, 2, Format::Float).unwrap(), floats);
        let whole = vec![Vector::Base64(text.clone())];
        assert_eq!(given(1, 4, Format::Base64).unwrap(), whole);
        for (count, dimensions) in [(2, 3), (3, 2), (0, 4), (4, 0), (u32::MAX, u32::MAX)] {
            assert_eq!(given(count, dimensions, Format::Float), None);
        }
    }
}

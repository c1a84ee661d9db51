//! Embeddings as OpenAI's protocol has them: vectors that follow from the text, so that the same text
//! is always the same vector and two texts are two.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::script::{Reply, UsageReport};
use crate::wire::{ChatRequest, tokens};

const DIMENSIONS: usize = 8;
const MAX_DIMENSIONS: usize = 4_096;

/// What is read of a request.
#[derive(Debug, Deserialize)]
pub(crate) struct EmbeddingRequest {
    model: String,
    input: Input,
    #[serde(default)]
    dimensions: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Many(Vec<String>),
}

impl EmbeddingRequest {
    /// The same as a conversation, by which the script and the model's name choose what happens.
    pub(crate) fn chat(&self) -> Result<ChatRequest, String> {
        let body = json!({ "model": self.model,
            "messages": [{ "role": "user", "content": self.texts().join("\n") }] });
        serde_json::from_value(body).map_err(|error| error.to_string())
    }

    /// The body, and the tokens of all texts.
    pub(crate) fn answer(&self, reply: &Reply) -> (String, u64) {
        let dimensions = self.dimensions.unwrap_or(DIMENSIONS).min(MAX_DIMENSIONS);
        let vector = |(index, text): (usize, &&str)| {
            json!({ "object": "embedding", "index": index,
                "embedding": vector(text, dimensions) })
        };
        let texts = self.texts();
        let data: Vec<Value> = texts.iter().enumerate().map(vector).collect();
        let counted: u64 = texts.iter().map(|text| tokens(text)).sum();
        let mut body = json!({ "object": "list", "model": self.model, "data": data });
        let reported = match reply.usage {
            UsageReport::Honest => Some(counted),
            UsageReport::Missing => None,
            UsageReport::Lie(figures) => Some(figures.input),
        };
        if let Some(reported) = reported {
            body["usage"] = json!({ "prompt_tokens": reported, "total_tokens": reported });
        }
        (body.to_string(), counted)
    }

    fn texts(&self) -> Vec<&str> {
        match &self.input {
            Input::One(text) => vec![text],
            Input::Many(texts) => texts.iter().map(String::as_str).collect(),
        }
    }
}

/// Numbers between -1 and 1 from a hash (FNV-1a) of the text and the place.
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let number = |place: usize| {
        let bytes = text.bytes().chain(place.to_le_bytes());
        let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        let [low, high, ..] = hash.to_le_bytes();
        f32::from(i16::from_le_bytes([low, high])) / 32_768.0
    };
    (0..dimensions).map(number).collect()
}

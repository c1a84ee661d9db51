//! Embeddings by OpenAI's protocol.

use nexus_events::model::Usage;
use reqwest::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};

use super::embed::{EmbedRequest, Embeddings};
use super::error::Failure;
use super::guard::Guard;

/// A number of a vector takes some twelve bytes as text; a body may have what answers may have and
/// this much for each text, which is enough for 16,384 numbers.
const BODY_BYTES_A_TEXT: usize = 256 << 10;
/// A number written at its longest, with the comma and the blank after it.
const NUMBER_BYTES: usize = 26;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: &'a [String],
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Vector>,
    #[serde(default)]
    usage: Option<Reported>,
}

#[derive(Deserialize)]
struct Vector {
    #[serde(default)]
    index: Option<usize>,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct Reported {
    #[serde(default)]
    prompt_tokens: u64,
}

/// Asks the server at `base`.
pub(super) async fn embed(
    base: &str,
    guard: &Guard,
    request: &EmbedRequest,
) -> Result<Embeddings, Failure> {
    let body = Body {
        model: &request.model,
        input: &request.texts,
        encoding_format: "float",
        dimensions: request.dimensions,
    };
    let mut http = (guard.http.post(format!("{base}/embeddings")))
        .json(&body)
        .build()
        .map_err(|_| Failure::transient("the request could not be built"))?;
    if let Some(key) = guard.key_header("Bearer ") {
        http.headers_mut().insert(AUTHORIZATION, key);
    }
    let texts = request.texts.len();
    let numbers =
        (request.max_numbers).map_or(usize::MAX, |most| most.saturating_mul(NUMBER_BYTES));
    let max_bytes = (texts.saturating_mul(BODY_BYTES_A_TEXT))
        .min(numbers)
        .saturating_add(guard.max_answer_bytes);
    let answer: Answer = guard.json(http, max_bytes).await?;
    let usage = match answer.usage {
        Some(reported) if reported.prompt_tokens > 0 => Usage {
            input_tokens: reported.prompt_tokens,
            ..Usage::default()
        },
        _ => request.bound(),
    };
    let vectors = in_order(answer.data, texts)?;
    Ok(Embeddings { vectors, usage })
}

/// The vectors by their places: one for each text, all of one length.
fn in_order(data: Vec<Vector>, texts: usize) -> Result<Vec<Vec<f32>>, Failure> {
    let mut places: Vec<Option<Vec<f32>>> = vec![None; texts];
    let length = data.first().map_or(0, |first| first.embedding.len());
    for (number, vector) in data.into_iter().enumerate() {
        let even = vector.embedding.len() == length && length > 0;
        match places.get_mut(vector.index.unwrap_or(number)) {
            Some(place) if even => *place = Some(vector.embedding),
            _ => {
                return Err(Failure::malformed(
                    "a vector has no place or another length",
                ));
            }
        }
    }
    let all: Option<Vec<_>> = places.into_iter().collect();
    all.ok_or_else(|| Failure::malformed("a text has no vector"))
}

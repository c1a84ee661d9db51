//! What a model call takes without the platform: the same request to the same server by a plain
//! client, one at a time. What a run takes more than this is the platform's own.

use std::time::Instant;

use futures_util::future::try_join_all;
use serde_json::json;

use super::error::BenchError;
use super::proc;
use super::stats::Samples;

const WARM_UP: usize = 20;
const CALLS: usize = 200;
const ANSWERS: usize = 5;

/// Times of calls that nothing stands before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Direct {
    /// The whole call.
    pub(crate) whole: Samples,
    /// Until its first piece came.
    pub(crate) first_piece: Samples,
}

/// Calls the server again and again.
///
/// # Errors
/// [`BenchError::Model`]: it does not answer.
pub(crate) async fn measure(base_url: &str, model: &str) -> Result<Direct, BenchError> {
    let client = reqwest::Client::new();
    let url = format!("{base_url}/chat/completions");
    let body = json!({
        "model": model, "stream": true, "stream_options": { "include_usage": true },
        "messages": [{ "role": "user", "content": "Say something." }],
    });
    let mut direct = Direct::default();
    for call in 0..WARM_UP + CALLS {
        let began = Instant::now();
        let answer = client.post(&url).json(&body).send().await.map_err(failed)?;
        let mut answer = answer.error_for_status().map_err(failed)?;
        let mut first = None;
        while answer.chunk().await.map_err(failed)?.is_some() {
            first.get_or_insert_with(|| began.elapsed());
        }
        if call >= WARM_UP {
            direct.whole.add(began.elapsed());
            direct
                .first_piece
                .add(first.unwrap_or_else(|| began.elapsed()));
        }
    }
    Ok(direct)
}

/// Words a second that the server sends in one stream, each as a fragment of its own.
///
/// # Errors
/// [`BenchError::Model`]: it does not answer.
pub(crate) async fn words_per_second(
    base_url: &str,
    model: &str,
    words: usize,
) -> Result<f64, BenchError> {
    let client = reqwest::Client::new();
    let mut took = 0.0;
    for _ in 0..ANSWERS {
        let mut answer = open(&client, base_url, model).await?;
        // From the first on: the server makes the whole answer before it.
        answer.chunk().await.map_err(failed)?;
        let began = Instant::now();
        while answer.chunk().await.map_err(failed)?.is_some() {}
        took += began.elapsed().as_secs_f64();
    }
    Ok((words * ANSWERS) as f64 / took.max(f64::EPSILON))
}

/// Bytes of this process for each of so many streams that have begun and are held open.
///
/// # Errors
/// [`BenchError::Model`]: it does not answer.
pub(crate) async fn hold(base_url: &str, model: &str, streams: usize) -> Result<u64, BenchError> {
    let me = std::process::id();
    let before = proc::memory_of_one(me);
    let client = reqwest::Client::new();
    let stream = async |_| {
        let mut answer = open(&client, base_url, model).await?;
        answer.chunk().await.map_err(failed)?;
        Ok::<_, BenchError>(answer)
    };
    let held = try_join_all((0..streams).map(stream)).await?;
    let more = proc::memory_of_one(me).saturating_sub(before);
    Ok(more / held.len().max(1) as u64)
}

async fn open(
    client: &reqwest::Client,
    base_url: &str,
    model: &str,
) -> Result<reqwest::Response, BenchError> {
    let body = json!({
        "model": model, "stream": true,
        "messages": [{ "role": "user", "content": "Say something." }],
    });
    let url = format!("{base_url}/chat/completions");
    let answer = client.post(&url).json(&body).send().await.map_err(failed)?;
    answer.error_for_status().map_err(failed)
}

fn failed(error: reqwest::Error) -> BenchError {
    BenchError::Model(error.to_string())
}

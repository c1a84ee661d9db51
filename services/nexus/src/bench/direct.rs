//! What a model call takes without the platform: the same request to the same server by a plain
//! client, one at a time. What a run takes more than this is the platform's own.

use std::time::Instant;

use serde_json::json;

use super::error::BenchError;
use super::stats::Samples;

const WARM_UP: usize = 20;
const CALLS: usize = 200;

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

fn failed(error: reqwest::Error) -> BenchError {
    BenchError::Model(error.to_string())
}

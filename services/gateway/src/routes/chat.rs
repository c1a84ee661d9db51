//! Chat completions, as OpenAI's clients ask for them.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::http::trace::Trace;
use crate::http::{ApiError, JsonBody};
use crate::identity::Caller;
use crate::openai::answer::{ChatCompletion, Head};
use crate::openai::chunks::Chunks;
use crate::openai::collect::Collected;
use crate::openai::open::{Request, naming, open};
use crate::openai::request::ChatRequest;
use crate::openai::stream::Pieces;
use crate::openai::voice::Chat;

/// Answers a conversation: whole, or as a stream.
pub(crate) async fn complete(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    headers: HeaderMap,
    JsonBody(request): JsonBody<ChatRequest>,
) -> Result<Response, ApiError> {
    let (model, streams) = (request.model.clone(), request.stream.unwrap_or(false));
    let includes_usage = request.includes_usage();
    let command = request.into_command(app.catalog())?;
    let asked = Request {
        app: &app,
        caller: &caller,
        trace,
        headers: &headers,
        streams,
    };
    let client_tools: Vec<_> = (command.client_tools.iter())
        .map(|tool| tool.name.clone())
        .collect();
    let teller = |run, fresh: bool| {
        let created = now();
        let head = Head {
            run,
            model,
            created,
        };
        Pieces {
            voice: Chat::new(head, includes_usage),
            chunks: Chunks::new(client_tools, !fresh),
            collected: Collected::default(),
        }
    };
    let (run, answering) = open(asked, command, teller).await?;
    let response = match streams {
        true => answering.streamed().await,
        false => match answering.whole().await {
            Ok(told) => Json(ChatCompletion::new(&told.voice.head, told.collected)).into_response(),
            Err(refused) => *refused,
        },
    };
    Ok(naming(run, response))
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

//! Messages, as Anthropic's clients ask for them.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use crate::anthropic::answer::OutMessage;
use crate::anthropic::errors::request_id;
use crate::anthropic::request::MessageRequest;
use crate::anthropic::voice::Told;
use crate::app::App;
use crate::http::trace::Trace;
use crate::http::{ApiError, JsonBody};
use crate::identity::Caller;
use crate::openai::chunks::Chunks;
use crate::openai::collect::Collected;
use crate::openai::open::{Request, naming, open};
use crate::openai::stream::Pieces;

/// Answers a conversation: whole, or as a stream.
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    headers: HeaderMap,
    JsonBody(request): JsonBody<MessageRequest>,
) -> Result<Response, ApiError> {
    let (model, streams) = (request.model.clone(), request.stream.unwrap_or(false));
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
    let teller = |run, fresh: bool| Pieces {
        voice: Told::new(run, model, request_id(&trace)),
        chunks: Chunks::new(client_tools, !fresh),
        collected: Collected::default(),
    };
    let (run, answering) = open(asked, command, teller).await?;
    let response = match streams {
        true => answering.streamed().await,
        false => match answering.whole().await {
            Ok(told) => {
                Json(OutMessage::whole(run, &told.voice.model, told.collected)).into_response()
            }
            Err(refused) => *refused,
        },
    };
    Ok(naming(run, response))
}

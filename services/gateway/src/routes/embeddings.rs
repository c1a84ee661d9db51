//! Vectors of texts, as OpenAI's clients ask for them. They may have many megabytes: those that are
//! being given take their room of what all bodies together have.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use nexus_bus::objects::Objects;
use tokio::sync::OwnedSemaphorePermit;

use crate::app::App;
use crate::http::body::UNIT;
use crate::http::problem::internal;
use crate::http::trace::Trace;
use crate::http::{ApiError, JsonBody};
use crate::identity::Caller;
use crate::openai::embeddings::{EmbeddingList, EmbeddingsRequest, Format, Listening};
use crate::openai::open::{Request, naming, open};

/// What a stored byte takes while it is given: itself, its numbers, and those as text.
const BYTES_A_BYTE: u64 = 5;

/// Makes vectors of texts.
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    headers: HeaderMap,
    JsonBody(request): JsonBody<EmbeddingsRequest>,
) -> Result<Response, ApiError> {
    let wanted = (request.model().to_owned(), request.format());
    let command = request.into_command(app.catalog())?;
    let asked = Request {
        app: &app,
        caller: &caller,
        trace,
        headers: &headers,
        streams: false,
    };
    let (run, answering) = open(asked, command, |_, _| Listening::default()).await?;
    let response = match answering.whole().await {
        Ok(told) => given(&app, &caller, told, wanted).await.into_response(),
        Err(refused) => *refused,
    };
    Ok(naming(run, response))
}

async fn given(
    app: &App,
    caller: &Caller,
    told: Listening,
    wanted: (String, Format),
) -> Result<Response, ApiError> {
    let no_vectors = || ApiError::new(500, "internal", "the run ended without vectors");
    let (made, usage) = told.made().ok_or_else(no_vectors)?;
    let room = room(app, made.vectors.len_bytes()).await?;
    // The log says how long it is.
    let objects = Objects::new(app.bus().clone(), made.vectors.len_bytes());
    let text = objects.resolve(&caller.tenant, &made.vectors).await;
    let text = text.map_err(|error| internal(&error))?;
    let list = EmbeddingList::new(&made, &text, usage, wanted).ok_or_else(no_vectors)?;
    let json = serde_json::to_vec(&list).map_err(|error| internal(&error))?;
    let headers = [(CONTENT_TYPE, "application/json")];
    Ok((headers, in_room(json.into(), room)).into_response())
}

/// Room for vectors. They are made and paid for, so that it is waited for.
async fn room(app: &App, stored: u64) -> Result<OwnedSemaphorePermit, ApiError> {
    let config = app.config();
    let most = config.body_memory_bytes / UNIT;
    let bytes = usize::try_from(stored.saturating_mul(BYTES_A_BYTE)).unwrap_or(usize::MAX);
    let units = u32::try_from(bytes.div_ceil(UNIT).min(most)).unwrap_or(u32::MAX);
    let room = Arc::clone(app.bodies()).acquire_many_owned(units);
    let patience = Duration::from_millis(config.request_timeout_ms);
    match tokio::time::timeout(patience, room).await {
        Ok(Ok(room)) => Ok(room),
        _ => {
            let detail = "too many bodies are being read and written; with the same Idempotency-Key \
                          the same vectors are given later";
            Err(ApiError::unavailable("overloaded", detail))
        }
    }
}

/// A body whose room is free again when it was sent. Fused, for layers ask for more after its end.
fn in_room(body: Bytes, room: OwnedSemaphorePermit) -> Body {
    let parts = stream::unfold((Some(body), room), |(body, room)| async move {
        body.map(|body| (Ok::<_, Infallible>(body), (None, room)))
    });
    Body::from_stream(parts.fuse())
}

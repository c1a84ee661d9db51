//! The same streams over a WebSocket, for pages: a browser's `EventSource` cannot show a credential.
//! What is said goes one way; the other side may only answer pings and close.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use bytes::Bytes;
use tokio::time::timeout;

use super::sse::{Closed, Frames};
use crate::http::server::Held;

/// What the other side may send: nothing but pongs and a close.
const MOST_RECEIVED_BYTES: usize = 1_024;
/// Room that each connection has, whether it is used or not.
const BUFFER_BYTES: usize = 4_096;
/// Pings that may be unanswered before the other side is taken for gone.
const MOST_UNANSWERED: u32 = 2;
/// How long the other side may take to agree that it is over.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers the request with a WebSocket, which gives the frames of a stream. `held` is what the
/// connection holds, for as long as it is open.
pub(crate) fn answer(upgrade: WebSocketUpgrade, frames: Frames, held: Option<Held>) -> Response {
    upgrade
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_message_size(MOST_RECEIVED_BYTES)
        .max_frame_size(MOST_RECEIVED_BYTES)
        .on_upgrade(async move |socket| {
            serve(socket, frames).await;
            drop(held);
        })
}

async fn serve(mut socket: WebSocket, mut frames: Frames) {
    let Some(reason) = relay(&mut socket, &mut frames).await else {
        return;
    };
    drop(frames);
    let farewell = async {
        if socket.send(Message::Close(Some(reason))).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    // Whoever does not say that it heard is cut.
    let _ = timeout(CLOSE_TIMEOUT, farewell).await;
}

/// Gives frames until there are none, and says why; nothing where the other side went away.
async fn relay(socket: &mut WebSocket, frames: &mut Frames) -> Option<CloseFrame> {
    let mut unanswered = 0;
    loop {
        tokio::select! {
            frame = frames.frames.recv() => {
                let message = match frame {
                    None => return frames.closed.get().copied().and_then(why),
                    Some(frame) if frame.is_empty() => {
                        if unanswered == MOST_UNANSWERED {
                            return None;
                        }
                        unanswered += 1;
                        Message::Ping(Bytes::new())
                    }
                    // It was encoded as JSON, which is UTF-8.
                    Some(frame) => Message::Text(Utf8Bytes::try_from(frame).ok()?),
                };
                socket.send(message).await.ok()?;
            }
            message = socket.recv() => match message? {
                Ok(Message::Ping(_) | Message::Pong(_)) => unanswered = 0,
                Ok(Message::Close(_)) => return None,
                Ok(Message::Text(_) | Message::Binary(_)) => {
                    return Some(close(close_code::UNSUPPORTED, "nothing_is_read_here"));
                }
                Err(_) => return Some(close(close_code::PROTOCOL, "not_understood")),
            }
        }
    }
}

/// How a stream's end is told.
fn why(closed: Closed) -> Option<CloseFrame> {
    let code = match closed {
        Closed::RunOver => close_code::NORMAL,
        Closed::ReaderGone => return None,
        Closed::SlowReader | Closed::TooManyRuns => close_code::POLICY,
        Closed::Stopping => close_code::AWAY,
        Closed::LogUnreadable => close_code::ERROR,
    };
    Some(close(code, closed.reason()))
}

fn close(code: u16, reason: &'static str) -> CloseFrame {
    let reason = Utf8Bytes::from_static(reason);
    CloseFrame { code, reason }
}

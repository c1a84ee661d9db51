//! Policy bundles.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use nexus_events::Problem;
use nexus_events::command::{ActivateBundle, PublishBundle};
use nexus_events::policy::BUILTIN;
use nexus_projections::query::BundleRow;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lists::{self, At};
use crate::app::App;
use crate::commands::{Order, Outcome, send};
use crate::http::trace::Trace;
use crate::http::{ApiError, JsonBody, Params};
use crate::identity::Caller;

/// The outcome of a command on policy.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PolicyDone {
    /// The bundle; null while it was not compiled.
    digest: Option<String>,
    /// Sequence up to which policy was read or written: give it as `min_seq`. Null while no role
    /// has answered; the command is accepted all the same.
    seq: Option<u64>,
}

/// Bundles of a tenant.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Bundles {
    /// The newest first, the first 200; `builtin` is always among them.
    items: Vec<BundleRow>,
}

type Answer = Result<(StatusCode, Json<PolicyDone>), ApiError>;

/// Publishes a bundle.
pub(crate) async fn publish(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    JsonBody(bundle): JsonBody<PublishBundle>,
) -> Answer {
    let order = Order {
        caller: &caller,
        trace,
        command: bundle.into(),
        run: None,
        key: None,
    };
    answer(send(&app, order).await?, None)
}

/// Decides by a bundle from now on.
pub(crate) async fn activate(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(digest): Path<String>,
) -> Answer {
    let hex = digest.strip_prefix("sha256:");
    let is_digest = hex.is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
    });
    if digest != BUILTIN && !is_digest {
        let detail = "it must be builtin, or sha256: and 64 hexadecimal digits";
        return Err(Problem::new(400, "invalid_id", detail).at("digest").into());
    }
    let command = ActivateBundle {
        digest: digest.clone(),
    }
    .into();
    let order = Order {
        caller: &caller,
        trace,
        command,
        run: None,
        key: None,
    };
    answer(send(&app, order).await?, Some(digest))
}

fn answer(outcome: Outcome<PolicyDone>, digest: Option<String>) -> Answer {
    Ok(match outcome {
        Outcome::Done(done) => (StatusCode::OK, Json(done)),
        Outcome::Accepted => (StatusCode::ACCEPTED, Json(PolicyDone { digest, seq: None })),
    })
}

/// All bundles.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<At>,
) -> Result<Json<Bundles>, ApiError> {
    lists::caught_up(&app, query.min_seq).await?;
    let items = app.projections().policy_bundles(&caller.tenant).await?;
    Ok(Json(Bundles { items }))
}

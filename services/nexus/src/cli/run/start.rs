//! Starting a run, once.

use std::time::Duration;

use nexus_events::command::StartRun;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::cli::error::CliError;
use crate::cli::follow::may_pass;
use crate::cli::http::{Gateway, Request};

const START_PAUSE: Duration = Duration::from_millis(300);

/// A start whose answer is lost is sent again: it names its run, so that it stays one run. Nothing
/// listening at all, before anything was sent, is said at once.
///
/// # Errors
/// [`CliError`]: it was refused, or the platform is away.
pub(super) async fn start(
    gateway: &Gateway,
    command: &StartRun,
    key: Option<String>,
    patience: Duration,
) -> Result<Value, CliError> {
    let began = Instant::now();
    let headers: Vec<_> = key
        .map(|key| ("idempotency-key", key))
        .into_iter()
        .collect();
    let request = Request {
        path: &["v1", "runs"],
        headers: &headers,
        ..Request::default()
    };
    let mut sent = false;
    loop {
        let error = match gateway.post::<Value>(request.clone(), command).await {
            Ok(accepted) => return Ok(accepted),
            Err(error) => error,
        };
        sent |= !matches!(error, CliError::Unreachable { refused: true, .. });
        if !sent || !may_pass(&error) || began.elapsed() >= patience {
            return Err(error);
        }
        sleep(START_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use nexus_events::RunId;
    use serde_json::json;

    use super::*;
    use crate::cli::testing::{self, Scripted};

    #[tokio::test]
    async fn a_start_whose_answer_is_lost_is_the_same_start_again() {
        let accepted = json!({ "run_id": "r", "session_id": "r", "seq": null });
        let answers = vec![
            "HTTP/1.1 202".to_owned(),
            testing::json("202 Accepted", &accepted),
        ];
        let scripted = Scripted::start(answers).await;
        let command = StartRun {
            run_id: Some(RunId::derive(&["x"])),
            ..StartRun::default()
        };
        let started = start(&scripted.gateway, &command, None, Duration::from_secs(60)).await;
        assert_eq!(started.unwrap(), accepted);
        let bodies: Vec<_> = scripted
            .asked()
            .iter()
            .map(|asked| asked.split("\r\n\r\n").nth(1).unwrap().to_owned())
            .collect();
        assert_eq!(bodies.len(), 2);
        assert_eq!(
            bodies[0], bodies[1],
            "the run has its id before it is started"
        );
        let error = start(&scripted.gateway, &command, None, Duration::from_secs(60)).await;
        assert!(
            matches!(error, Err(CliError::Unreachable { refused: true, .. })),
            "at once"
        );
    }
}

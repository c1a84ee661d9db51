//! The gateway: whether it answers, and what it says of itself.

use std::time::Duration;

use serde_json::Value;

use super::finding::Finding;
use crate::cli::endpoint::Connection;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::http::Gateway;

const CHECK: &str = "gateway";
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks at it.
pub(crate) async fn check(connection: &Connection) -> Vec<Finding> {
    match asked(connection).await {
        Ok((url, status, answer)) => findings(&url, status, &answer),
        Err(error) => {
            let advice = "start it with `nexus up`, or pass --url";
            vec![Finding::fail(CHECK, error.to_string(), advice)]
        }
    }
}

/// Only whether it is ready; what is not goes to standard error, in one line.
pub(crate) async fn ready(connection: &Connection) -> Exit {
    let why = match asked(connection).await {
        Ok((_, 200, _)) => return Exit::Done,
        Ok((_, status, answer)) => {
            let reasons: Vec<_> = failing(&answer)
                .map(|(name, why)| format!("{name}: {why}"))
                .collect();
            if reasons.is_empty() {
                format!("status {status}")
            } else {
                reasons.join("; ")
            }
        }
        Err(error) => error.to_string(),
    };
    eprintln!("not ready: {why}");
    Exit::Failed
}

async fn asked(connection: &Connection) -> Result<(String, u16, Value), CliError> {
    let gateway = Gateway::new(connection)?;
    let (status, answer) = gateway.probe(&["readyz"], PATIENCE).await?;
    Ok((gateway.url().to_owned(), status, answer))
}

fn findings(url: &str, status: u16, answer: &Value) -> Vec<Finding> {
    match status {
        200 => vec![Finding::ok(CHECK, format!("ready at {url}"))],
        503 if failing(answer).next().is_some() => failing(answer)
            .map(|(name, why)| {
                let advice =
                    "it serves again by itself once this passes; the checks below look closer";
                Finding::fail(CHECK, format!("not ready at {url}: {name}: {why}"), advice)
            })
            .collect(),
        _ => {
            let advice = "is --url the gateway of a Nexus?";
            vec![Finding::fail(
                CHECK,
                format!("{url} answers with status {status}"),
                advice,
            )]
        }
    }
}

fn failing(answer: &Value) -> impl Iterator<Item = (&str, &str)> {
    let checks = answer.get("checks").and_then(Value::as_array);
    checks.into_iter().flatten().filter_map(|check| {
        let text = |field| check.get(field).and_then(Value::as_str);
        let bad = check.get("ok").and_then(Value::as_bool) == Some(false);
        bad.then_some((text("name")?, text("detail")?))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::finding::any_fails;
    use super::*;

    #[test]
    fn each_reason_is_a_finding() {
        let answer = json!({ "ready": false, "checks": [
            { "name": "bus", "ok": false, "detail": "no connection" },
            { "name": "database", "ok": true, "detail": "fine" },
            { "name": "read_models", "ok": false, "detail": "cannot be told now" },
        ] });
        let found = findings("http://x", 503, &answer);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].found, "not ready at http://x: bus: no connection");
        assert!(!any_fails(&findings("http://x", 200, &Value::Null)));
        assert!(any_fails(&findings("http://x", 404, &Value::Null)));
    }
}

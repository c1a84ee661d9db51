//! Postgres: whether it answers, whether its tables are this program's, and how far they are.

use super::finding::Finding;
use super::verdict;
use crate::cli::endpoint::{Connection, Servers};
use crate::cli::servers;

const CHECK: &str = "Postgres";

/// Looks at it; `log_seq` is where the log ends.
pub(crate) async fn check(
    servers: &Servers,
    connection: &Connection,
    log_seq: Option<u64>,
) -> Vec<Finding> {
    let projections = match servers::projections(servers, connection).await {
        Ok(projections) => projections,
        Err(error) => {
            let advice = "start the platform, or pass --database-url";
            return vec![Finding::fail(CHECK, error.to_string(), advice)];
        }
    };
    let version = sqlx::query_scalar::<_, String>("SHOW server_version")
        .fetch_one(projections.pool())
        .await;
    let applied = "SELECT max(version) FROM _sqlx_migrations WHERE success";
    let applied = sqlx::query_scalar::<_, Option<i64>>(applied)
        .fetch_one(projections.pool())
        .await;
    let known = sqlx::migrate!("../../migrations")
        .iter()
        .map(|one| one.version)
        .max();
    let mut findings = vec![
        Finding::ok(
            CHECK,
            format!("reachable, version {}", version.unwrap_or_default()),
        ),
        // A table that is not there is an error of the query, and means the same as an empty one.
        verdict::migrations(applied.ok().flatten(), known.unwrap_or_default()),
    ];
    findings.push(match (log_seq, projections.applied_seq().await) {
        (Some(log_seq), Ok(applied)) => verdict::lag(log_seq, applied),
        (None, _) => Finding::skipped("projection lag", "the log's end is not known"),
        (_, Err(error)) => Finding::skipped("projection lag", error.to_string()),
    });
    findings
}

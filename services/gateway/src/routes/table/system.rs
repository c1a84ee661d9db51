//! Keys, the audit log, and the gateway itself.

use nexus_projections::query::AuditRow;

use crate::identity::Access;
use crate::routes::route::{Route, get, post};
use crate::routes::{audit, index, keys, lists, system};

pub(super) fn routes() -> Vec<Route> {
    vec![
        post("/v1/keys", keys::create, "createKey", "Make an API key")
            .demands(Access::Manage)
            .body::<keys::NewKey>()
            .example(r#"{"name":"build server","user":"ci","roles":["user"]}"#)
            .answer::<keys::KeyMade>(201, "The key, shown once")
            .problems(&[413, 415, 422, 503]),
        get(
            "/v1/keys",
            keys::list,
            "listKeys",
            "API keys, the newest first",
        )
        .demands(Access::Manage)
        .query::<lists::At>()
        .answer::<keys::KeyList>(200, "All keys but for their secrets")
        .problems(&[503]),
        post(
            "/v1/keys/{key_id}/rotate",
            keys::rotate,
            "rotateKey",
            "Give a key another secret",
        )
        .demands(Access::Manage)
        .maybe_body::<keys::Rotation>()
        .answer::<keys::KeyMade>(200, "The key as it is from now on, shown once")
        .problems(&[404, 413, 415, 422, 503]),
        post(
            "/v1/keys/{key_id}/revoke",
            keys::revoke,
            "revokeKey",
            "Let a key be used no more",
        )
        .demands(Access::Manage)
        .maybe_body::<keys::Revocation>()
        .answer::<keys::KeyDone>(200, "It is refused within a second")
        .problems(&[404, 413, 415, 422, 503]),
        get(
            "/v1/audit",
            audit::list,
            "listAudit",
            "Who did what, when, to what, and why it was allowed",
        )
        .demands(Access::Audit)
        .query::<audit::ListQuery>()
        .page::<AuditRow>("A page, the newest first")
        .problems(&[503]),
        get(
            "/v1/audit/export",
            audit::export,
            "exportAudit",
            "All entries that there are now, the oldest first, with their hashes",
        )
        .demands(Access::Audit)
        .query::<audit::ExportQuery>()
        .media(200, audit::LINES)
        .problems(&[503]),
        get(
            "/healthz",
            system::healthz,
            "health",
            "Whether the process lives",
        )
        .demands(Access::Public)
        .answer::<system::Health>(200, "It does"),
        get(
            "/readyz",
            system::readyz,
            "ready",
            "Whether it can serve, and why not",
        )
        .demands(Access::Public)
        .answer::<system::Readiness>(200, "It can")
        .answer::<system::Readiness>(503, "It cannot; the checks say why"),
        get(
            "/metrics",
            system::metrics,
            "metrics",
            "Metrics, as Prometheus and OpenMetrics scrape them",
        )
        .demands(Access::Operate)
        .media(200, "application/openmetrics-text"),
        get("/openapi.json", system::openapi, "openapi", "This document")
            .demands(Access::Public)
            .answer::<serde_json::Map<String, serde_json::Value>>(200, "It"),
        get("/docs", index::docs, "docs", "This document, for people")
            .demands(Access::Public)
            .media(200, "text/html"),
        get("/", index::page, "index", "A page for people")
            .demands(Access::Public)
            .media(200, "text/html"),
    ]
}

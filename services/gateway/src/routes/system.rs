//! For operators: whether it lives, whether it can serve, and figures.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use nexus_bus::{Bus, dlq, metrics as bus_metrics, read, topology};
use nexus_events::ledger::{Scope, Unit};
use nexus_events::{Tenant, subject};
use nexus_projections::query::BudgetRow;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::timeout;

use crate::app::App;
use crate::metrics::BudgetOf;

/// How long a check may take.
const CHECK: Duration = Duration::from_secs(2);

/// Roles with the commands that each handles, as their queues are named.
const ROLES: &[(&str, &[&str])] = &[
    ("run", &["run", "session"]),
    ("budget", &["budget"]),
    ("policy", &["policy", "key"]),
    ("llm", &["llm"]),
    ("tools", &["tool"]),
    ("webhooks", &["webhook"]),
];

/// The process lives.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Health {
    /// Always `ok`.
    status: &'static str,
    /// Of this program.
    version: &'static str,
}

/// Whether the process lives: it does if it can say so.
pub(crate) async fn healthz() -> Json<Health> {
    Json(Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// Whether the gateway can serve.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Readiness {
    /// All checks hold.
    ready: bool,
    /// What was looked at.
    checks: Vec<Check>,
}

/// One check.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Check {
    /// What was looked at: `bus`, `database`, `read_models`.
    name: &'static str,
    /// It is as it should be.
    ok: bool,
    /// What was found.
    detail: String,
}

impl Check {
    fn new(name: &'static str, found: Result<String, String>) -> Self {
        let ok = found.is_ok();
        let (Ok(detail) | Err(detail)) = found;
        Self { name, ok, detail }
    }
}

/// Whether it can serve, and why not.
pub(crate) async fn readyz(State(app): State<App>) -> (StatusCode, Json<Readiness>) {
    let (newest, applied) = tokio::join!(newest_seq(app.bus()), applied_seq(&app));
    let lag = match (&newest, &applied) {
        (Ok(newest), Ok(applied)) => lag(&app, *newest, *applied),
        _ => Err("cannot be told now".to_owned()),
    };
    let stopping = app.draining().is_cancelled();
    let mut checks = vec![
        Check::new(
            "bus",
            newest.map(|seq| format!("the event log is at sequence {seq}")),
        ),
        Check::new(
            "database",
            applied.map(|seq| format!("sequence {seq} is applied")),
        ),
        Check::new("read_models", lag),
    ];
    if stopping {
        checks.push(Check::new("gateway", Err("it is stopping".to_owned())));
    }
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(Readiness { ready, checks }))
}

fn lag(app: &App, newest: u64, applied: u64) -> Result<String, String> {
    let lag = newest.saturating_sub(applied);
    app.metrics()
        .projection_lag
        .set(i64::try_from(lag).unwrap_or(i64::MAX));
    let most = app.config().max_projection_lag;
    match lag <= most {
        true => Ok(format!("{lag} behind the event log")),
        false => Err(format!(
            "{lag} behind the event log, and {most} are allowed"
        )),
    }
}

async fn newest_seq(bus: &Bus) -> Result<u64, String> {
    if !bus.is_connected() {
        return Err("there is no connection to the bus".to_owned());
    }
    match timeout(
        CHECK,
        read::last(bus, topology::EVENTS, subject::ALL_EVENTS),
    )
    .await
    {
        Ok(Ok(last)) => Ok(last.map_or(0, |last| last.seq)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!(
            "the event log did not answer within {} s",
            CHECK.as_secs()
        )),
    }
}

async fn applied_seq(app: &App) -> Result<u64, String> {
    match timeout(CHECK, app.projections().applied_seq()).await {
        Ok(Ok(seq)) => Ok(seq),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!(
            "the database did not answer within {} s",
            CHECK.as_secs()
        )),
    }
}

/// Metrics, sampled now.
pub(crate) async fn metrics(State(app): State<App>) -> Response {
    let queues = timeout(CHECK, bus_metrics::sample_queues(app.bus(), ROLES));
    let letters = timeout(CHECK, dlq::counts(app.bus(), None));
    let doubts = timeout(CHECK, app.projections().count_tool_calls_in_doubt());
    let (newest, applied, _queues, letters, doubts, ()) = tokio::join!(
        newest_seq(app.bus()),
        applied_seq(&app),
        queues,
        letters,
        doubts,
        sample_budgets(&app),
    );
    if let Ok(Ok(doubts)) = doubts {
        app.metrics().tools_in_doubt.set(doubts);
    }
    if let (Ok(newest), Ok(applied)) = (newest, applied) {
        // Sets the gauge; whether it is too much is for `/readyz` and for alerts.
        let _ = lag(&app, newest, applied);
    }
    if let Ok(Ok(letters)) = letters {
        let kept: u64 = letters.values().sum();
        app.metrics()
            .dead_letters_kept
            .set(i64::try_from(kept).unwrap_or(i64::MAX));
    }
    let media = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, media)], bus_metrics::encoded()).into_response()
}

/// Budgets of the tenants that called this gateway.
async fn sample_budgets(app: &App) {
    let tenants: BTreeSet<Tenant> = app.tenants().seen();
    for tenant in tenants {
        let budget = app
            .projections()
            .accounts(&tenant, &Scope::Tenant, app.bus().now());
        let Ok(Ok(windows)) = timeout(CHECK, budget).await else {
            return;
        };
        for row in windows {
            let Some(ratio) = utilization(&row) else {
                continue;
            };
            let labels = BudgetOf {
                tenant: tenant.to_string(),
                window: row.window.as_str(),
            };
            app.metrics().utilization.get_or_create(&labels).set(ratio);
        }
    }
}

/// Spent and reserved against the limit, of the unit that is fullest.
fn utilization(row: &BudgetRow) -> Option<f64> {
    let used = row.spent.plus(row.reserved);
    let ratios = Unit::ALL.into_iter().filter_map(|unit| {
        // Six digits are enough for a gauge.
        let limit = row.limits.get(unit)?.max(1) as f64;
        Some(used.get(unit) as f64 / limit)
    });
    ratios.reduce(f64::max)
}

/// The OpenAPI document.
pub(crate) async fn openapi() -> Response {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| crate::openapi().to_string());
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

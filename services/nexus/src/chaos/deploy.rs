//! What operators set up before, and change while runs go on: policy, tools, limits, workers.

use nexus_events::command::OpenSession;
use serde_json::{Value, json};

use super::caller::{Ask, Who};
use super::error::ChaosError;
use super::load::{self, CROWD, CROWD_RUNS, POOR, POOR_TOKENS, SESSIONS, TENANTS};
use super::platform::Platform;
use super::witness::Tool;

/// Versions of the tools, before and after.
const VERSIONS: [&str; 2] = ["1.0.0", "1.1.0"];
/// More than all runs together spend, so that the tenant's account is one that everything counts in.
const TENANT_TOKENS: u64 = 1_000_000_000;
/// Who answers questions.
pub(crate) const BOSS: &str = "boss";

/// Makes ready what the load needs.
///
/// # Errors
/// [`ChaosError::Setup`]: it was refused.
pub(crate) async fn set_up(platform: &Platform, seed: u64) -> Result<(), ChaosError> {
    for tenant in TENANTS {
        tools(platform, tenant, VERSIONS[0]).await?;
        policy(platform, tenant, 1).await?;
        let tokens = json!({ "limits": { "tokens": TENANT_TOKENS } });
        limit(platform, tenant, "tenant", tokens).await?;
        let runs = json!({ "limits": { "runs": CROWD_RUNS }, "on_exhausted": "park" });
        limit(platform, tenant, &format!("user/{CROWD}"), runs).await?;
        let few = json!({ "limits": { "tokens": POOR_TOKENS } });
        limit(platform, tenant, &format!("user/{POOR}"), few).await?;
    }
    for number in 1..=SESSIONS {
        let open = OpenSession {
            session_id: Some(load::session(seed, number)),
            ..OpenSession::default()
        };
        let body = serde_json::to_value(&open).unwrap_or_default();
        done(
            platform,
            Ask::post(Who::operator(TENANTS[0]), "/v1/sessions", body),
        )
        .await?;
    }
    Ok(())
}

/// A new version of everything, while runs go on.
///
/// # Errors
/// [`ChaosError`]: it was refused, or a process does not start.
pub(crate) async fn deploy(platform: &Platform) -> Result<(), ChaosError> {
    for tenant in TENANTS {
        tools(platform, tenant, VERSIONS[1]).await?;
        policy(platform, tenant, 2).await?;
    }
    for role in &platform.roles {
        role.replace().await?;
    }
    Ok(())
}

async fn tools(platform: &Platform, tenant: &str, version: &str) -> Result<(), ChaosError> {
    for definition in Tool::ALL.iter().filter_map(|tool| tool.definition(version)) {
        let body = serde_json::to_value(&definition).unwrap_or_default();
        done(
            platform,
            Ask::post(Who::operator(tenant), "/v1/tools", body),
        )
        .await?;
    }
    Ok(())
}

async fn policy(platform: &Platform, tenant: &str, version: u32) -> Result<(), ChaosError> {
    let modules = json!({ "policy.rego": rules(version) });
    let body = json!({ "modules": modules, "activate": true });
    done(
        platform,
        Ask::post(Who::operator(tenant), "/v1/policies", body),
    )
    .await
}

async fn limit(
    platform: &Platform,
    tenant: &str,
    scope: &str,
    limits: Value,
) -> Result<(), ChaosError> {
    let mut ask = Ask::post(
        Who::operator(tenant),
        format!("/v1/budgets/{scope}"),
        limits,
    );
    ask.method = reqwest::Method::PUT;
    done(platform, ask).await
}

async fn done(platform: &Platform, ask: Ask<'_>) -> Result<(), ChaosError> {
    let (status, body) = ask.insist(platform).await;
    match status {
        200..300 => Ok(()),
        _ => Err(ChaosError::Setup(format!("{}: {status} {body}", ask.path))),
    }
}

/// The policy; each version is a bundle of its own, and says the same.
fn rules(version: u32) -> String {
    let (forbidden, signed) = (Tool::Forbidden.name(), Tool::Signed.name());
    format!(
        "# Version {version}.\n\
         package nexus.agent.policy\n\
         import rego.v1\n\
         decision := {{\"allow\": false, \"rule\": \"forbidden\", \"reasons\": [\"it is forbidden\"]}} if {{\n\
         \tinput.tool.name == \"{forbidden}\"\n\
         }} else := {{\"allow\": true, \"rule\": \"signed\", \"reasons\": [\"people agree\"],\n\
         \t\"require_approval\": {{\"roles\": [\"{BOSS}\"]}}}} if {{\n\
         \tinput.tool.name == \"{signed}\"\n\
         }} else := {{\"allow\": true, \"rule\": \"usual\", \"reasons\": [\"nothing speaks against it\"]}}\n"
    )
}

//! What policy is told of a run.

use std::time::Duration;

use nexus_bus::{Delivery, Failure};
use nexus_bus::{Store, process};
use nexus_events::catalog::Catalog;
use nexus_events::command::RunRef;
use nexus_events::ledger::{Ledger, Limits, Scope, Window};
use nexus_events::run::{PolicyPoint, Run};
use nexus_events::{AggregateId, Tenant, Timestamp};

use crate::engine;

/// How old the ledger's figures may be when policy sees them. The ledger itself never relies on
/// them: it is asked, with a reservation, before anything is spent.
const LEDGER_AT_MOST_OLD: Duration = Duration::from_millis(250);

/// What is left of the session's budget; none where it has no limits.
pub(crate) async fn session_left(
    store: &Store,
    tenant: &Tenant,
    reference: &RunRef,
    delivery: &Delivery,
) -> Result<Option<Limits>, Failure> {
    let (session, limits) = {
        let run = process::load_run(store, delivery, reference).await?;
        let Some(info) = run.state.info() else {
            return Ok(None);
        };
        (
            info.session.id,
            info.session.budget.map(|budget| budget.limits()),
        )
    };
    let ledger = store
        .peek::<Ledger>(tenant, &AggregateId::ONLY, LEDGER_AT_MOST_OLD)
        .await?;
    let account = ledger
        .state
        .account(&Scope::Session(session), Window::Lifetime)
        .copied();
    // Before its first reservation, a session's limits are known from the run alone.
    let left = account.map_or(limits, |account| Some(account.limits.left(account.used())));
    Ok(left.and_then(told))
}

/// What policy is told of it: tokens, money and time; none where none of them is limited.
fn told(left: Limits) -> Option<Limits> {
    let told = Limits {
        tokens: left.tokens,
        cost_usd_micros: left.cost_usd_micros,
        time_ms: left.time_ms,
        ..Limits::default()
    };
    (left != Limits::default()).then_some(told)
}

/// The input for one point; none for a run that does not exist.
pub(crate) fn build(
    run: &Run,
    point: &PolicyPoint,
    tenant: &Tenant,
    catalog: &Catalog,
    left: Option<Limits>,
    now: Timestamp,
) -> Option<engine::Input> {
    let info = run.info()?;
    let user = engine::User {
        id: info.user.user.clone(),
        role: info.user.roles.first().cloned(),
        roles: info.user.roles.clone(),
        groups: info.user.groups.clone(),
    };
    let kind = match point {
        PolicyPoint::RunStart => engine::Point::RunStart,
        PolicyPoint::LlmCall { .. } => engine::Point::LlmCall,
        PolicyPoint::ToolCall { .. } => engine::Point::ToolCall,
    };
    let mut input = engine::Input::new(kind, tenant.as_str(), user);
    input.session = Some(engine::Session {
        id: info.session.id.to_string(),
        budget: left.map(|left| engine::Budget {
            tokens: left.tokens,
            cost_usd_micros: left.cost_usd_micros,
            time_ms: left.time_ms,
        }),
        policy_context: info
            .session
            .policy_context
            .clone()
            .map(serde_json::Value::Object),
    });
    input.agent = Some(engine::Agent {
        name: info.agent.name.clone(),
        version: Some(info.agent.version.clone()),
    });
    input.run = Some(engine::Run {
        id: info.run_id.to_string(),
        turn: Some(run.turn),
        parent: (info.parent.as_ref()).map(|parent| parent.run_id.to_string()),
        embeds: run.embeds(),
        invokes: (info.invoked()).map(|call| call.name),
        client_tools: (run.given()).map_or(vec![], |given| given.client_tools.clone()),
    });
    input.model = Some(run.model.clone());
    if let Some(model) = run.offered(&run.model, catalog) {
        input.provider = Some(model.provider.clone());
        input.providers = [std::slice::from_ref(&model.provider), &model.others].concat();
    }
    input.tool = match point {
        PolicyPoint::ToolCall { turn, call_id } => Some(tool_of(run, *turn, call_id)?),
        _ => None,
    };
    input.time = Some(now.to_string());
    Some(input)
}

fn tool_of(run: &Run, turn: u32, call_id: &str) -> Option<engine::Tool> {
    let call = &run.tool_step(turn, call_id)?.call;
    let pin = run.pin(&call.name);
    Some(engine::Tool {
        name: call.name.clone(),
        version: pin.map(|pin| pin.version.clone()),
        category: pin.map(|pin| pin.category.clone()),
        permissions: pin.map(|pin| pin.permissions.clone()).unwrap_or_default(),
        arguments: Some(call.arguments.clone()),
    })
}

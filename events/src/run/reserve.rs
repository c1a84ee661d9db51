//! What a step asks of the ledger, and what the run learns.

use super::{
    Given, ModelDowngraded, ParentLink, ReservationGranted, ReservationLapsed, ReservationRefused,
    Run, RunEvent, RunFailed, RunParked, RunStarted, Status, Step, ToolPhase, reservation_id,
    wrong_state,
};
use crate::catalog::{Catalog, ModelInfo};
use crate::command::RunRef;
use crate::error::DomainError;
use crate::ids::ReservationId;
use crate::ledger::{Amounts, Ask, Cheaper, OwnLimits, Refusal, RunStep, Scope, Shortage};
use crate::time::Timestamp;

/// Fewer output tokens than this are not worth a call.
const MIN_OUTPUT_TOKENS: u64 = 16;
/// Less time than this is not worth a model call.
const MIN_CALL_MS: u64 = 1_000;
/// Longest time of one model call, if budget allows.
const MAX_CALL_MS: u64 = 300_000;
/// Less time than this is not worth a tool call.
const MIN_TOOL_MS: u64 = 100;
/// Longest time of one tool call, if budget allows.
const MAX_TOOL_MS: u64 = 60_000;
/// The same for a tool whose definition says that it takes longer.
const MAX_REGISTERED_TOOL_MS: u64 = 600_000;
/// How long a reservation is held beyond its time, for a call that waits its turn or whose worker
/// died.
const HOLD_MS: u64 = 600_000;
/// Scopes that a child may inherit: some twelve generations.
const MOST_SCOPES: usize = 64;

/// A model that this worker's configuration lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("model {0:?} is not in this worker's configuration")]
pub struct UnknownModel(pub String);

/// Every scope in which a run counts: its own, and those of the runs that it works for.
pub fn scopes_of(info: &RunStarted) -> Vec<Scope> {
    let mut scopes = vec![
        Scope::Tenant,
        Scope::User(info.user.user.clone()),
        Scope::Agent(info.agent.name.clone()),
        Scope::Session(info.session.id),
        Scope::Run(info.run_id),
    ];
    // Last: what was derived before there were keys is the same without one.
    scopes.extend(info.user.key.map(Scope::Key));
    for scope in info.parent.iter().flat_map(|parent| &parent.scopes) {
        if !scopes.contains(scope) {
            scopes.push(scope.clone());
        }
    }
    scopes
}

/// The budgets that a run brings: its own, its session's, and those of the runs that it works for.
fn own_limits(info: &RunStarted) -> Vec<OwnLimits> {
    let session = (Scope::Session(info.session.id), info.session.budget);
    let run = (Scope::Run(info.run_id), info.budget);
    let own = [session, run].into_iter().filter_map(|(scope, budget)| {
        let budget = budget?;
        Some(OwnLimits {
            scope,
            limits: budget.limits(),
            on_exhausted: budget.on_exhausted,
        })
    });
    let inherited = info.parent.iter().flat_map(|parent| &parent.own_limits);
    own.chain(inherited.cloned()).collect()
}

/// What a child takes over from the run that it works for.
///
/// # Errors
/// The parent does not exist, has ended, or has not spent anything yet: then the ledger does not have
/// its budget. Or it has too many parents itself.
pub fn inherit(parent: &Run) -> Result<ParentLink, DomainError> {
    let Some(info) = parent.info().filter(|_| !parent.status.is_terminal()) else {
        return Err(wrong_state(parent, "take a child"));
    };
    if !parent.in_flight {
        return Err(wrong_state(parent, "take a child before its first call"));
    }
    let scopes = scopes_of(info);
    if scopes.len() >= MOST_SCOPES {
        let reason = "the run has too many generations of parents already";
        return Err(DomainError::invalid("parent_run_id", reason));
    }
    Ok(ParentLink {
        run_id: info.run_id,
        scopes,
        own_limits: own_limits(info),
    })
}

/// What a step that is due asks of the ledger: the turn's model call, or one of its tool calls. None
/// when nothing is to be reserved (any more).
///
/// # Errors
/// [`UnknownModel`].
pub fn ask(
    run: &Run,
    turn: u32,
    call_id: Option<&str>,
    catalog: &Catalog,
) -> Result<Option<Ask>, UnknownModel> {
    let Some((started, round)) = run.started.as_ref().zip(waits(run, turn, call_id)) else {
        return Ok(None);
    };
    let info = &started.event;
    let reference = RunRef {
        run_id: info.run_id,
        first_seq: started.first_seq,
        last_seq: started.first_seq,
    };
    let base = Ask {
        reservation_id: reservation_id(info.run_id, turn, call_id, round),
        step: Some(RunStep {
            run: reference,
            turn,
            call_id: call_id.map(str::to_owned),
        }),
        scopes: scopes_of(info),
        own_limits: own_limits(info),
        model: None,
        input_tokens: 0,
        max_output_tokens: 0,
        min_output_tokens: 0,
        time_ms: tool_ms(run, turn, call_id),
        min_time_ms: MIN_TOOL_MS.min(tool_ms(run, turn, call_id)),
        extra_cost_usd_micros: 0,
        tool_calls: 1,
        price: Default::default(),
        cheaper: vec![],
        hold_ms: tool_ms(run, turn, call_id).max(MAX_TOOL_MS) + HOLD_MS,
    };
    if call_id.is_some() {
        return Ok(Some(base));
    }
    let unknown = || UnknownModel(run.model.clone());
    let model = run.offered(&run.model, catalog).ok_or_else(unknown)?;
    if run.embeds() {
        return Ok(Some(ask_to_embed(run, model, base)));
    }
    // A model reads no more than this; what is longer is summarised first.
    let input_tokens = run.context_tokens().min(model.context_tokens);
    let (time_ms, output) = (call_ms(run), capped_output(run, model));
    let room = |model: &ModelInfo| {
        let prompt = input_tokens.min(model.prompt_tokens());
        (model.context_tokens - prompt).max(MIN_OUTPUT_TOKENS)
    };
    let cheaper = catalog.cheaper_than(&info.agent.name, &run.model);
    let cheaper = cheaper.into_iter().filter_map(|name| {
        let model = catalog.get(&name)?;
        Some(Cheaper {
            price: model.price,
            max_output_tokens: capped_output(run, model).min(room(model)),
            model: name,
        })
    });
    Ok(Some(Ask {
        model: Some(run.model.clone()),
        input_tokens,
        max_output_tokens: output.min(room(model)),
        min_output_tokens: MIN_OUTPUT_TOKENS,
        time_ms,
        min_time_ms: MIN_CALL_MS.min(time_ms),
        tool_calls: 0,
        price: model.price,
        cheaper: cheaper.collect(),
        hold_ms: time_ms.saturating_add(HOLD_MS),
        ..base
    }))
}

/// All texts together; each for itself may have what the model reads. Another model's vectors cannot be
/// compared with those that the caller has, so that no cheaper one is taken.
fn ask_to_embed(run: &Run, model: &ModelInfo, base: Ask) -> Ask {
    let time_ms = call_ms(run);
    Ask {
        model: Some(run.model.clone()),
        input_tokens: run.context_tokens(),
        time_ms,
        min_time_ms: MIN_CALL_MS.min(time_ms),
        tool_calls: 0,
        price: model.price,
        hold_ms: time_ms.saturating_add(HOLD_MS),
        ..base
    }
}

/// The longest that policy lets the turn's model call take.
fn call_ms(run: &Run) -> u64 {
    let all = [&run.duties, &run.turn_duties];
    let obliged = all.into_iter().filter_map(|duties| duties.timeout_ms);
    obliged.fold(MAX_CALL_MS, u64::min).max(1)
}

/// The longest that policy lets a tool call take.
fn tool_ms(run: &Run, turn: u32, call_id: Option<&str>) -> u64 {
    let step = call_id.and_then(|call_id| run.tool_step(turn, call_id));
    let own = step.and_then(|step| run.pin(&step.call.name)?.timeout_ms);
    let longest = own.unwrap_or(MAX_TOOL_MS).clamp(1, MAX_REGISTERED_TOOL_MS);
    let obliged = step.and_then(|step| step.duties.timeout_ms);
    obliged.unwrap_or(longest).clamp(1, longest)
}

/// The most tokens of answer that the caller wants and policy lets the turn's model call have.
fn capped_output(run: &Run, model: &ModelInfo) -> u64 {
    let all = [&run.duties, &run.turn_duties];
    let wanted = run.given().and_then(Given::max_output_tokens);
    let most = wanted.map_or(model.max_output_tokens, |wanted| {
        wanted.max(1).min(model.max_output_tokens)
    });
    all.into_iter().fold(most, |most, duties| {
        let tokens = duties.max_tokens.unwrap_or(u64::MAX);
        let cost = duties.max_cost_usd_micros;
        let affordable = cost.map_or(u64::MAX, |cost| {
            model.price.affordable_output(run.context_tokens(), cost)
        });
        most.min(tokens).min(affordable)
    })
}

/// What the ledger said.
#[derive(Clone, Debug, PartialEq)]
pub enum Reserved {
    /// It holds what the step may spend.
    Granted(Granted),
    /// The step waits.
    Parked(Shortage),
    /// The step gets nothing.
    Refused(Refusal),
}

/// What the ledger holds for the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The reservation.
    pub reservation_id: ReservationId,
    /// What is held.
    pub amounts: Amounts,
    /// Tokens that the answer may have.
    pub max_output_tokens: u64,
    /// When it goes back by itself.
    pub expires_at: Timestamp,
    /// Sequence of the ledger's commit.
    pub ledger_seq: u64,
}

/// Records what the ledger said, where the step still waits for it. No event: it does not, and what
/// was held has to go back; or the run knows already that the step waits.
pub fn record_reservation(
    run: &Run,
    turn: u32,
    call_id: Option<&str>,
    reserved: Reserved,
) -> Vec<RunEvent> {
    let Some((info, round)) = run.info().zip(waits(run, turn, call_id)) else {
        return vec![];
    };
    let wanted = reservation_id(info.run_id, turn, call_id, round);
    let call_id = call_id.map(str::to_owned);
    match reserved {
        // Held for this step once, and lapsed since.
        Reserved::Granted(granted) if wanted != granted.reservation_id => vec![],
        Reserved::Granted(granted) => {
            let longest = match &call_id {
                Some(call_id) => tool_ms(run, turn, Some(call_id)),
                None => call_ms(run),
            };
            let event = ReservationGranted {
                turn,
                call_id,
                reservation_id: granted.reservation_id,
                amounts: granted.amounts,
                time_limited: granted.amounts.time_ms < longest,
                max_output_tokens: granted.max_output_tokens,
                expires_at: granted.expires_at,
                ledger_seq: granted.ledger_seq,
            };
            vec![event.into()]
        }
        Reserved::Parked(_) if is_parked(run, call_id.as_deref()) => vec![],
        Reserved::Parked(shortage) => vec![
            RunParked {
                turn,
                call_id,
                reservation_id: wanted,
                shortage,
            }
            .into(),
        ],
        Reserved::Refused(refusal) => refused(run, turn, call_id, refusal),
    }
}

/// How often the step asked anew, where it waits for the ledger.
fn waits(run: &Run, turn: u32, call_id: Option<&str>) -> Option<u32> {
    if run.turn != turn || run.status.is_terminal() {
        return None;
    }
    match call_id {
        None => matches!(run.step, Step::Reserve { .. }).then_some(run.round),
        Some(call_id) => {
            let step = run.tool_step(turn, call_id)?;
            matches!(step.phase, ToolPhase::Reserve { .. }).then_some(step.round)
        }
    }
}

fn is_parked(run: &Run, call_id: Option<&str>) -> bool {
    match call_id {
        None => matches!(run.step, Step::Reserve { parked: true, .. }),
        Some(call_id) => run
            .tool_step(run.turn, call_id)
            .is_some_and(|step| matches!(step.phase, ToolPhase::Reserve { parked: true, .. })),
    }
}

fn refused(run: &Run, turn: u32, call_id: Option<String>, refusal: Refusal) -> Vec<RunEvent> {
    let message = refusal.describe();
    let shortage = refusal.shortage;
    let event = ReservationRefused {
        turn,
        call_id: call_id.clone(),
        scope: shortage.scope,
        window: shortage.window,
        unit: shortage.unit,
        limit: shortage.limit,
        spent: shortage.spent,
        reserved: shortage.reserved,
        needed: shortage.needed,
    };
    let then = match refusal.downgrade_to.filter(|_| call_id.is_none()) {
        Some(to) => ModelDowngraded {
            turn,
            from: run.model.clone(),
            to,
        }
        .into(),
        None => RunFailed {
            code: "budget_exhausted".to_owned(),
            message,
        }
        .into(),
    };
    vec![event.into(), then]
}

/// Records that the model call came too late: what was held expired, so the turn asks again. A run
/// that has ended only gives back what was held.
pub fn record_lapse(run: &Run, turn: u32) -> Vec<RunEvent> {
    match (&run.step, &run.grant) {
        (Step::Call { .. }, Some(grant)) if run.turn == turn => {
            vec![
                ReservationLapsed {
                    turn,
                    call_id: None,
                    reservation_id: grant.reservation_id,
                }
                .into(),
            ]
        }
        _ => vec![],
    }
}

/// Ends a run whose step has used up the time that a budget left it, wherever it hangs: in a model,
/// in a tool, or in a queue that nobody serves. No event: the step is done, or has another deadline.
pub fn end_of_time(run: &Run, reservation_id: ReservationId, deadline: Timestamp) -> Vec<RunEvent> {
    if matches!(
        run.status,
        Status::Unborn | Status::Completed | Status::Failed | Status::Cancelled
    ) {
        return vec![];
    }
    let is_it = |grant: &Option<ReservationGranted>, at: Option<Timestamp>| {
        at == Some(deadline)
            && grant
                .as_ref()
                .is_some_and(|grant| grant.reservation_id == reservation_id)
    };
    let what = match &run.step {
        Step::Call { since: Some(_) } if is_it(&run.grant, run.deadline) => {
            format!("model {}", run.model)
        }
        Step::Tools { calls, .. } => {
            let late = calls.iter().find(|step| is_it(&step.grant, step.deadline));
            match late {
                Some(step) => format!("tool {}", step.call.name),
                None => return vec![],
            }
        }
        _ => return vec![],
    };
    let message = format!(
        "the {what} was not done when the time that was left of the budget was over; \
         raise time_ms of the budget, or use something faster"
    );
    let code = "time_exhausted".to_owned();
    vec![RunFailed { code, message }.into()]
}

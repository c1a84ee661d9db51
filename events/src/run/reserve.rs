//! What a turn asks of the ledger, and what it learns.

use super::{
    ReservationGranted, ReservationLapsed, ReservationRefused, Run, RunEvent, RunFailed, Step,
    reservation_id,
};
use crate::catalog::ModelInfo;
use crate::ids::ReservationId;
use crate::ledger::{Amounts, Ask, Refusal, Scope};
use crate::time::Timestamp;

/// Fewer output tokens than this are not worth a call.
const MIN_OUTPUT_TOKENS: u64 = 16;
/// Less time than this is not worth a call.
const MIN_CALL_MS: u64 = 1_000;
/// Longest time of one model call, if budget allows.
const MAX_CALL_MS: u64 = 300_000;
/// How long a reservation is held for a call that waits its turn or whose worker died: the longest
/// call, and ten minutes.
const HOLD_MS: u64 = MAX_CALL_MS + 600_000;

/// What the turn that is due asks of the ledger; none when nothing is to be reserved (any more).
pub fn ask(run: &Run, turn: u32, model: &ModelInfo) -> Option<Ask> {
    if run.turn != turn || !matches!(run.step, Step::Reserve { .. }) {
        return None;
    }
    let info = run.info()?;
    let session = Scope::Session(info.session.id);
    let scopes = vec![
        Scope::Tenant,
        Scope::User(info.user.user.clone()),
        Scope::Agent(info.agent.name.clone()),
        session.clone(),
        Scope::Run(info.run_id),
    ];
    let own_limits = [
        (session, info.session.budget),
        (Scope::Run(info.run_id), info.budget),
    ]
    .into_iter()
    .filter_map(|(scope, budget)| budget.map(|budget| (scope, budget.limits())))
    .collect();
    let input_tokens = run.context_tokens();
    let room = model
        .context_tokens
        .saturating_sub(input_tokens)
        .max(MIN_OUTPUT_TOKENS);
    Some(Ask {
        reservation_id: reservation_id(info.run_id, turn, run.lapses),
        run_id: info.run_id,
        turn,
        scopes,
        own_limits,
        input_tokens,
        max_output_tokens: model.max_output_tokens.min(room),
        min_output_tokens: MIN_OUTPUT_TOKENS,
        time_ms: MAX_CALL_MS,
        min_time_ms: MIN_CALL_MS,
        price: model.price,
        hold_ms: HOLD_MS,
    })
}

/// What the ledger said.
pub type Reserved = Result<Granted, Refusal>;

/// What the ledger holds for the call.
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

/// Records what the ledger said, where the turn still waits for it. No event: it does not, and what
/// was held has to go back.
pub fn record_reservation(run: &Run, turn: u32, reserved: Reserved) -> Vec<RunEvent> {
    if run.turn != turn || !matches!(run.step, Step::Reserve { .. }) {
        return vec![];
    }
    let wanted = run
        .info()
        .map(|info| reservation_id(info.run_id, turn, run.lapses));
    match reserved {
        // Held for this turn once, and lapsed since.
        Ok(granted) if wanted != Some(granted.reservation_id) => vec![],
        Ok(granted) => {
            let event = ReservationGranted {
                turn,
                reservation_id: granted.reservation_id,
                amounts: granted.amounts,
                max_output_tokens: granted.max_output_tokens,
                expires_at: granted.expires_at,
                ledger_seq: granted.ledger_seq,
            };
            vec![event.into()]
        }
        Err(refusal) => {
            let message = describe(&refusal);
            let event = ReservationRefused {
                turn,
                scope: refusal.scope,
                window: refusal.window,
                unit: refusal.unit.to_owned(),
                limit: refusal.limit,
                spent: refusal.spent,
                reserved: refusal.reserved,
                needed: refusal.needed,
            };
            let failed = RunFailed {
                code: "budget_exhausted".to_owned(),
                message,
            };
            vec![event.into(), failed.into()]
        }
    }
}

/// Records that the call came too late: what was held expired, so the turn asks again. A run that
/// has ended only gives back what was held.
pub fn record_lapse(run: &Run, turn: u32) -> Vec<RunEvent> {
    match (&run.step, &run.grant) {
        (Step::Call { .. }, Some(grant)) if run.turn == turn => {
            vec![
                ReservationLapsed {
                    turn,
                    reservation_id: grant.reservation_id,
                }
                .into(),
            ]
        }
        _ => vec![],
    }
}

fn describe(refusal: &Refusal) -> String {
    let Refusal {
        scope,
        unit,
        limit,
        spent,
        reserved,
        needed,
        ..
    } = refusal;
    let of = match scope.id() {
        id if id.is_empty() => scope.kind().to_owned(),
        id => format!("{} {id}", scope.kind()),
    };
    format!(
        "the call needs at least {needed} {unit}, and the {of} has {} left: \
         limit {limit}, spent {spent}, reserved {reserved}; raise the limit or wait for what is reserved",
        limit.saturating_sub(spent.saturating_add(*reserved))
    )
}

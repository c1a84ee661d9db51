//! What follows a model call that failed: another one of the same turn, of the same model or of the
//! next one of the agent's, or the run's end.
//!
//! A call that failed may have used most of what was held for it. So the next one is a round of its
//! own: what was used is settled, policy judges anew, and the ledger is asked anew. To repeat within
//! what is left of a reservation is only for whoever knows that it covers a whole call
//! (the llm role); to let several calls share one reservation spends it more than once.

use super::{Again, LlmFailed, ModelSwitched, Run, RunEvent, RunFailed};
use crate::catalog::Catalog;

/// Calls of one turn, over all models. It stays below the number of rounds whose reservations are
/// looked for when a run has asked and not learnt of them.
pub const MOST_CALLS: usize = 6;

/// Endpoints that are remembered of a call that failed.
const MOST_ENDPOINTS: usize = 8;

/// A call of the turn that failed and is made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedCall {
    /// The model.
    pub model: String,
    /// What went wrong.
    pub code: String,
    /// How often it was tried.
    pub attempts: u32,
    /// The endpoints that failed, the last first: whoever calls next begins with others.
    pub endpoints: Vec<String>,
}

impl FailedCall {
    pub(super) fn of(failed: &LlmFailed, model: String) -> Self {
        let attempts = failed.routing.iter().flat_map(|routing| &routing.attempts);
        let mut endpoints: Vec<String> = vec![];
        for attempt in attempts.rev() {
            if endpoints.len() < MOST_ENDPOINTS && !endpoints.contains(&attempt.endpoint) {
                endpoints.push(attempt.endpoint.clone());
            }
        }
        Self {
            model,
            code: failed.code.clone(),
            attempts: failed.attempts,
            endpoints,
        }
    }
}

/// The model that the run may be moved to when no endpoint of its own answers: the next of its
/// agent's, in their order, that has not failed in this turn. None where the model is not one of the
/// agent's, or where policy obliges to it.
pub fn next_model(run: &Run, catalog: &Catalog) -> Option<String> {
    if run.embeds() {
        // Vectors of two models cannot be compared.
        return None;
    }
    let agent = &run.info()?.agent.name;
    let models = catalog.agents.get(agent)?;
    let obliged = [&run.duties, &run.turn_duties];
    if obliged.iter().any(|duties| duties.model.is_some()) || !models.contains(&run.model) {
        return None;
    }
    (models.iter())
        .find(|name| may_take(run, name) && catalog.get(name).is_some())
        .cloned()
}

fn may_take(run: &Run, model: &str) -> bool {
    model != run.model && run.failed_calls.iter().all(|failed| failed.model != model)
}

/// Records a call that failed.
pub(super) fn failed(run: &Run, mut failed: LlmFailed) -> Vec<RunEvent> {
    let exhausted = run.failed_calls.len() + 1 >= MOST_CALLS;
    let allowed = match &failed.again {
        _ if exhausted => false,
        Some(Again::SameModel) => true,
        Some(Again::NextModel(to)) => may_take(run, to),
        None => false,
    };
    if !allowed {
        failed.again = None;
    }
    let then = match &failed.again {
        Some(Again::SameModel) => None,
        Some(Again::NextModel(to)) => Some(RunEvent::from(ModelSwitched {
            turn: failed.turn,
            from: run.model.clone(),
            to: to.clone(),
            reason: failed.code.clone(),
        })),
        None => Some(RunEvent::from(RunFailed {
            code: failed.code.clone(),
            message: failed.message.clone(),
        })),
    };
    std::iter::once(failed.into()).chain(then).collect()
}

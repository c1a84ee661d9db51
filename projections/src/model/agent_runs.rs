//! `agent_runs`: one row a run, changed by each of its events.
//!
//! A run that began in the batch is inserted as it stands at the batch's end; of an older one only
//! what changed is sent, and sums are added up in the table. Reading the rows first was the
//! alternative: a round trip and the whole texts of every run for a few numbers.

use nexus_events::ledger::Amounts;
use nexus_events::model::Usage;
use nexus_events::run::{
    ApprovalRequested, LlmCompleted, PolicyPoint, RunEvent, RunParked, RunStarted, ToolInDoubt,
};
use nexus_events::{ApprovalId, RunId, Tenant, Timestamp};
use serde_json::{Map, Value};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::fold::{At, Rows, col};
use crate::query::{WaitingFor, WaitingForApproval, WaitingForWord};
use crate::text;

/// The runs that a batch changes.
#[derive(Debug, Default)]
pub(crate) struct AgentRuns {
    rows: Rows<(Tenant, RunId), Row>,
}

#[derive(Debug)]
struct Row {
    tenant: Tenant,
    id: RunId,
    started: Option<(RunStarted, Timestamp)>,
    /// Whom it follows, where that was known only when its turn came.
    previous: Option<RunId>,
    rolled_back: bool,
    from_seq: u64,
    seq: u64,
    phase: Option<&'static str>,
    paused: Option<bool>,
    /// What its calls wait for, by call; null where one waits no more.
    waits: Map<String, Value>,
    turns: u64,
    used: Amounts,
    output: Option<Output>,
    error_code: Option<String>,
    error_message: Option<String>,
    completed_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Output {
    text: Option<String>,
    reference: Option<Value>,
    finish: String,
}

impl AgentRuns {
    pub(crate) fn run(&mut self, at: &At<'_>, run: RunId, event: &RunEvent) {
        let row = self
            .rows
            .entry((at.tenant.clone(), run), || Row::new(at, run));
        row.seq = at.seq;
        match event {
            RunEvent::RunStarted(started) => {
                row.started = Some((started.clone(), at.time));
                row.phase = Some(match started.queued {
                    Some(_) => "queued",
                    None => "pending",
                });
            }
            RunEvent::RunDequeued(turn) => {
                row.phase = Some("pending");
                row.previous = turn.previous.map(|run| run.run_id);
            }
            RunEvent::RunTakenBack(_) => row.rolled_back = true,
            RunEvent::PolicyDecided(decided) => {
                if decided.allowed && decided.point == PolicyPoint::RunStart {
                    row.phase = Some("running");
                }
            }
            RunEvent::LlmCompleted(done) => row.answered(done),
            // The vectors are on the log; in a list of runs nobody wants them.
            RunEvent::TextsEmbedded(done) => row.answered(&done.call),
            RunEvent::ContextSummarised(done) => {
                let call = &done.call;
                row.used(&call.usage, call.cost_usd_micros, call.duration_ms);
            }
            RunEvent::LlmFailed(failed) => {
                row.used(&failed.usage, failed.cost_usd_micros, failed.duration_ms);
            }
            RunEvent::LlmAborted(aborted) => {
                row.used(&aborted.usage, aborted.cost_usd_micros, aborted.duration_ms);
            }
            RunEvent::ToolCompleted(done) => row.worked(done.duration_ms),
            RunEvent::ToolFailed(failed) => row.worked(failed.duration_ms),
            RunEvent::ToolInDoubt(doubt) => row.doubts(doubt, at.time),
            RunEvent::ToolResolved(resolved) => {
                row.waits.insert(doubt(&resolved.call_id), Value::Null);
            }
            RunEvent::RunPaused(_) => row.paused = Some(true),
            RunEvent::RunResumed(_) => row.paused = Some(false),
            RunEvent::RunCompleted(_) => row.end("completed", at.time),
            RunEvent::RunFailed(failed) => {
                row.end("failed", at.time);
                row.error_code = Some(text::owned(&failed.code));
                row.error_message = Some(text::owned(&failed.message));
            }
            RunEvent::RunCancelled(cancelled) => {
                row.end("cancelled", at.time);
                row.error_message = cancelled.reason.as_deref().map(text::owned);
            }
            RunEvent::RunParked(parked) => row.parked(parked, at.time),
            RunEvent::ReservationGranted(granted) => row.goes_on(granted.call_id.as_deref()),
            RunEvent::ReservationRefused(refused) => row.goes_on(refused.call_id.as_deref()),
            RunEvent::ApprovalRequested(asked) => row.asks(asked, at.time),
            RunEvent::ApprovalGranted(granted) if granted.missing == 0 => {
                row.is_answered(granted.approval_id);
            }
            RunEvent::ApprovalDenied(denied) => row.is_answered(denied.approval_id),
            RunEvent::ApprovalExpired(expired) => row.is_answered(expired.approval_id),
            // They move the run's last sequence and nothing else.
            RunEvent::ApprovalGranted(_)
            | RunEvent::ApprovalEscalated(_)
            | RunEvent::ToolArgumentsChanged(_)
            | RunEvent::ReservationLapsed(_)
            | RunEvent::ModelDowngraded(_)
            | RunEvent::ModelSwitched(_)
            | RunEvent::ToolStarted(_)
            | RunEvent::RunAwaited(_)
            | RunEvent::RunSignalled(_) => {}
        }
    }

    pub(crate) async fn write(&self, db: &mut PgConnection) -> sqlx::Result<()> {
        let (new, old): (Vec<&Row>, Vec<&Row>) = self
            .rows
            .all()
            .iter()
            .partition(|row| row.started.is_some());
        insert(db, &new).await?;
        update(db, &old).await
    }
}

impl Row {
    fn new(at: &At<'_>, id: RunId) -> Self {
        Self {
            tenant: at.tenant.clone(),
            id,
            started: None,
            previous: None,
            rolled_back: false,
            from_seq: at.seq,
            seq: at.seq,
            phase: None,
            paused: None,
            waits: Map::new(),
            turns: 0,
            used: Amounts::default(),
            output: None,
            error_code: None,
            error_message: None,
            completed_at: None,
        }
    }

    fn answered(&mut self, done: &LlmCompleted) {
        self.used(&done.usage, done.cost_usd_micros, done.duration_ms);
        self.turns += 1;
        let (text, reference) = text::body(&done.text);
        let finish = text::json(&done.finish);
        let finish = finish.as_str().unwrap_or_default().to_owned();
        self.output = Some(Output {
            text,
            reference,
            finish,
        });
    }

    fn used(&mut self, usage: &Usage, cost_usd_micros: u64, time_ms: u64) {
        let tokens = usage.total_tokens();
        let used = text::amounts(Amounts {
            tokens,
            cost_usd_micros,
            time_ms,
            ..Amounts::default()
        });
        self.used = text::amounts(self.used.plus(used));
    }

    fn worked(&mut self, time_ms: u64) {
        self.used = text::amounts(self.used.plus(Amounts {
            time_ms,
            ..Amounts::default()
        }));
    }

    fn parked(&mut self, parked: &RunParked, at: Timestamp) {
        let waits = WaitingFor {
            turn: parked.turn,
            call_id: parked.call_id.clone(),
            reservation_id: parked.reservation_id,
            since: at,
            shortage: parked.shortage.clone(),
        };
        let call = text::owned(parked.call_id.as_deref().unwrap_or_default());
        self.waits.insert(call, text::json(&waits));
    }

    fn asks(&mut self, asked: &ApprovalRequested, at: Timestamp) {
        let waits = WaitingForApproval {
            approval_id: asked.approval_id,
            point: asked.point.clone(),
            since: at,
            expires_at: asked.expires_at,
        };
        let key = question(asked.approval_id);
        self.waits.insert(key, text::json(&waits));
    }

    fn doubts(&mut self, left: &ToolInDoubt, at: Timestamp) {
        self.worked(left.duration_ms);
        let waits = WaitingForWord {
            turn: left.turn,
            call_id: left.call_id.clone(),
            tool: left.tool.clone(),
            attempt: left.attempt,
            message: left.message.clone(),
            since: at,
        };
        let waits = text::clean(text::json(&waits));
        self.waits.insert(doubt(&left.call_id), waits);
    }

    fn is_answered(&mut self, id: ApprovalId) {
        self.waits.insert(question(id), Value::Null);
    }

    /// A call waits no more, if it did.
    fn goes_on(&mut self, call: Option<&str>) {
        let call = text::owned(call.unwrap_or_default());
        self.waits.insert(call, Value::Null);
    }

    /// As it is at the end of the batch in which the run began.
    fn waiting_for(&self) -> Option<Value> {
        let waits = self.waits.iter().filter(|(_, waits)| !waits.is_null());
        let waits: Map<_, _> = waits
            .map(|(call, waits)| (call.clone(), waits.clone()))
            .collect();
        (!waits.is_empty() && self.completed_at.is_none()).then_some(Value::Object(waits))
    }

    fn first_phase(&self) -> &'static str {
        match self.phase {
            Some("pending" | "running") if self.waiting_for().is_some() => "waiting",
            phase => phase.unwrap_or("pending"),
        }
    }

    fn end(&mut self, phase: &'static str, at: Timestamp) {
        self.phase = Some(phase);
        self.completed_at = Some(at);
    }

    fn output(&self) -> Option<&str> {
        self.output.as_ref()?.text.as_deref()
    }

    fn output_ref(&self) -> Option<Value> {
        self.output.as_ref()?.reference.clone()
    }

    fn finish(&self) -> Option<&str> {
        self.output.as_ref().map(|output| output.finish.as_str())
    }
}

/// The key of a question among what a run waits for; calls of tools have other names.
fn question(id: ApprovalId) -> String {
    format!("approval/{id}")
}

/// The key of a call that is in doubt; calls that wait for budget have their own name.
fn doubt(call: &str) -> String {
    format!("doubt/{}", text::owned(call))
}

/// Inserts the runs that began. One that is there already was inserted by the same commit before.
async fn insert(db: &mut PgConnection, rows: &[&Row]) -> sqlx::Result<()> {
    let begun: Vec<(&Row, &RunStarted, Timestamp)> = (rows.iter())
        .filter_map(|row| {
            row.started
                .as_ref()
                .map(|(event, time)| (*row, event, *time))
        })
        .collect();
    if begun.is_empty() {
        return Ok(());
    }
    let bodies = col(&begun, |(_, event, _)| text::body(&event.input));
    sqlx::query!(
        "INSERT INTO agent_runs (tenant, id, session_id, previous_run_id, user_id, agent,
             agent_version, model, tools, phase, paused, started_at, completed_at, tokens, time_ms,
             cost_usd_micros, turns, max_turns, budget, input, input_ref, output, output_ref,
             finish, error_code, error_message, trace_id, metadata, first_seq, last_seq, seq,
             parent_run_id, waiting_for, queue_seq, rolled_back)
         SELECT u.tenant, u.id, u.session_id, u.previous_run_id, u.user_id, u.agent,
             u.agent_version, u.model, u.tools, u.phase, u.paused, u.started_at, u.completed_at,
             u.tokens, u.time_ms, u.cost_usd_micros, u.turns, u.max_turns, u.budget, u.input,
             u.input_ref, u.output, u.output_ref, u.finish, u.error_code, u.error_message,
             u.trace_id, u.metadata, u.first_seq, u.seq, u.seq, u.parent_run_id, u.waiting_for,
             u.queue_seq, u.rolled_back
         FROM UNNEST($1::text[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[],
             $7::text[], $8::text[], $9::jsonb[], $10::text[], $11::bool[], $12::timestamptz[],
             $13::timestamptz[], $14::int8[], $15::int8[], $16::int8[], $17::int4[], $18::int4[],
             $19::jsonb[], $20::text[], $21::jsonb[], $22::text[], $23::jsonb[], $24::text[],
             $25::text[], $26::text[], $27::text[], $28::jsonb[], $29::int8[], $30::int8[],
             $31::uuid[], $32::jsonb[], $33::int8[], $34::bool[])
           AS u(tenant, id, session_id, previous_run_id, user_id, agent, agent_version, model,
             tools, phase, paused, started_at, completed_at, tokens, time_ms, cost_usd_micros,
             turns, max_turns, budget, input, input_ref, output, output_ref, finish, error_code,
             error_message, trace_id, metadata, first_seq, seq, parent_run_id, waiting_for,
             queue_seq, rolled_back)
         ON CONFLICT (tenant, id) DO NOTHING",
        col(&begun, |(row, ..)| row.tenant.as_str()) as _,
        &col(&begun, |(row, ..)| row.id.uuid()),
        &col(&begun, |(_, event, _)| event.session.id.uuid()),
        col(&begun, |(row, event, _)| row
            .previous
            .or(event.session.previous.map(|run| run.run_id))
            .map(RunId::uuid)) as _,
        &col(&begun, |(_, event, _)| text::name(&event.user.user)),
        &col(&begun, |(_, event, _)| text::name(&event.agent.name)),
        &col(&begun, |(_, event, _)| text::name(&event.agent.version)),
        &col(&begun, |(_, event, _)| text::name(&event.model)),
        &col(&begun, |(_, event, _)| text::json(&event.tools)),
        col(&begun, |(row, ..)| row.first_phase()) as _,
        &col(&begun, |(row, ..)| row.paused.unwrap_or(false)),
        &col(&begun, |(.., time)| text::at(*time)),
        col(&begun, |(row, ..)| row.completed_at.map(text::at)) as _,
        &col(&begun, |(row, ..)| text::amount(row.used.tokens)),
        &col(&begun, |(row, ..)| text::amount(row.used.time_ms)),
        &col(&begun, |(row, ..)| text::amount(row.used.cost_usd_micros)),
        &col(&begun, |(row, ..)| text::small(row.turns)),
        &col(&begun, |(_, event, _)| text::small(event.max_turns.into())),
        col(&begun, |(_, event, _)| event
            .budget
            .as_ref()
            .map(text::json)) as _,
        col(&bodies, |(inline, _)| inline.as_deref()) as _,
        col(&bodies, |(_, reference)| reference.clone()) as _,
        col(&begun, |(row, ..)| row.output()) as _,
        col(&begun, |(row, ..)| row.output_ref()) as _,
        col(&begun, |(row, ..)| row.finish()) as _,
        col(&begun, |(row, ..)| row.error_code.as_deref()) as _,
        col(&begun, |(row, ..)| row.error_message.as_deref()) as _,
        col(&begun, |(_, event, _)| event
            .trace_id
            .as_deref()
            .map(text::name)) as _,
        &col(&begun, |(_, event, _)| text::json(&event.metadata)),
        &col(&begun, |(row, ..)| text::seq(row.from_seq)),
        &col(&begun, |(row, ..)| text::seq(row.seq)),
        col(&begun, |(_, event, _)| event
            .parent
            .as_ref()
            .map(|parent| parent.run_id.uuid())) as _,
        col(&begun, |(row, ..)| row.waiting_for()) as _,
        col(&begun, |(_, event, _)| event
            .queued
            .map(|place| text::seq(place.seq))) as _,
        &col(&begun, |(row, ..)| row.rolled_back),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Takes what changed into runs that began before. The guard refuses what the row has passed.
async fn update(db: &mut PgConnection, rows: &[&Row]) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let rows = rows.iter().copied();
    let ids: Vec<Uuid> = col(rows.clone(), |row| row.id.uuid());
    let waits: Vec<Value> = col(rows.clone(), |row| Value::Object(row.waits.clone()));
    sqlx::query!(
        "UPDATE agent_runs r SET
             phase = CASE
                 WHEN coalesce(u.phase, r.phase) NOT IN ('pending', 'running', 'waiting')
                   THEN coalesce(u.phase, r.phase)
                 WHEN nullif(jsonb_strip_nulls(coalesce(r.waiting_for, '{}') || u.waits), '{}')
                   IS NOT NULL THEN 'waiting'
                 WHEN coalesce(u.phase, r.phase) = 'pending' THEN 'pending'
                 ELSE 'running' END,
             waiting_for = CASE WHEN u.completed_at IS NULL THEN
                 nullif(jsonb_strip_nulls(coalesce(r.waiting_for, '{}') || u.waits), '{}') END,
             paused = coalesce(u.paused, r.paused),
             previous_run_id = coalesce(u.previous_run_id, r.previous_run_id),
             rolled_back = r.rolled_back OR u.rolled_back,
             turns = r.turns + u.turns,
             tokens = least(r.tokens + u.tokens, $17),
             time_ms = least(r.time_ms + u.time_ms, $17),
             cost_usd_micros = least(r.cost_usd_micros + u.cost_usd_micros, $17),
             output = CASE WHEN u.finish IS NULL THEN r.output ELSE u.output END,
             output_ref = CASE WHEN u.finish IS NULL THEN r.output_ref ELSE u.output_ref END,
             finish = coalesce(u.finish, r.finish),
             error_code = coalesce(u.error_code, r.error_code),
             error_message = coalesce(u.error_message, r.error_message),
             completed_at = coalesce(u.completed_at, r.completed_at),
             last_seq = u.seq,
             seq = u.seq
         FROM UNNEST($1::text[], $2::uuid[], $3::int8[], $4::int8[], $5::text[], $6::bool[],
             $7::int4[], $8::int8[], $9::int8[], $10::int8[], $11::text[], $12::jsonb[],
             $13::text[], $14::text[], $15::text[], $16::timestamptz[], $18::jsonb[], $19::uuid[], $20::bool[])
           AS u(tenant, id, from_seq, seq, phase, paused, turns, tokens, time_ms, cost_usd_micros,
             output, output_ref, finish, error_code, error_message, completed_at, waits,
             previous_run_id, rolled_back)
         WHERE r.id = u.id AND r.tenant IS NOT DISTINCT FROM u.tenant AND r.seq < u.from_seq",
        col(rows.clone(), |row| row.tenant.as_str()) as _,
        &ids,
        &col(rows.clone(), |row| text::seq(row.from_seq)),
        &col(rows.clone(), |row| text::seq(row.seq)),
        col(rows.clone(), |row| row.phase) as _,
        col(rows.clone(), |row| row.paused) as _,
        &col(rows.clone(), |row| text::small(row.turns)),
        &col(rows.clone(), |row| text::amount(row.used.tokens)),
        &col(rows.clone(), |row| text::amount(row.used.time_ms)),
        &col(rows.clone(), |row| text::amount(row.used.cost_usd_micros)),
        col(rows.clone(), |row| row.output()) as _,
        col(rows.clone(), |row| row.output_ref()) as _,
        col(rows.clone(), |row| row.finish()) as _,
        col(rows.clone(), |row| row.error_code.as_deref()) as _,
        col(rows.clone(), |row| row.error_message.as_deref()) as _,
        col(rows.clone(), |row| row.completed_at.map(text::at)) as _,
        text::MAX_AMOUNT,
        &waits,
        col(rows.clone(), |row| row.previous.map(RunId::uuid)) as _,
        &col(rows, |row| row.rolled_back),
    )
    .execute(db)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::panic, reason = "a test may fail")]

    use nexus_events::run::{RunCancelled, RunPaused, RunResumed, RunSignalled};

    use super::*;
    use crate::fold::testing::{RUN, answered, at, decided, started};

    fn fold(events: Vec<(u64, RunEvent)>) -> AgentRuns {
        let mut runs = AgentRuns::default();
        for (seq, event) in events {
            runs.run(&at(seq), RUN, &event);
        }
        runs
    }

    #[test]
    fn a_run_in_one_batch_is_one_row_as_it_stands_at_the_end() {
        let runs = fold(vec![
            (3, started(RUN.own_session()).into()),
            (4, decided(PolicyPoint::RunStart, true).into()),
            (6, answered(1, &["a"]).into()),
            (9, answered(2, &[]).into()),
        ]);
        let [row] = runs.rows.all() else {
            panic!("{runs:?}")
        };
        assert_eq!((row.from_seq, row.seq, row.turns), (3, 9, 2));
        assert_eq!(
            row.used,
            Amounts {
                tokens: 200,
                cost_usd_micros: 10,
                time_ms: 40,
                ..Amounts::default()
            }
        );
        assert_eq!(
            (row.phase, row.output(), row.finish()),
            (Some("running"), Some("answer 2"), Some("stop"))
        );
        assert!(row.started.is_some() && row.completed_at.is_none());
    }

    #[test]
    fn a_later_batch_says_only_what_changed() {
        let runs = fold(vec![(
            8,
            RunSignalled {
                input: "x".into(),
                tokens: None,
            }
            .into(),
        )]);
        let [row] = runs.rows.all() else {
            panic!("{runs:?}")
        };
        assert_eq!(
            (row.phase, row.paused, row.turns, row.output()),
            (None, None, 0, None)
        );
        assert_eq!((row.from_seq, row.seq), (8, 8));
    }

    #[test]
    fn a_pause_keeps_the_phase_and_an_end_has_a_time() {
        let runs = fold(vec![
            (1, RunPaused { reason: None }.into()),
            (2, decided(PolicyPoint::RunStart, true).into()),
        ]);
        let row = &runs.rows.all()[0];
        assert_eq!((row.phase, row.paused), (Some("running"), Some(true)));
        let runs = fold(vec![
            (1, RunPaused { reason: None }.into()),
            (2, RunResumed { reason: None }.into()),
            (
                3,
                RunCancelled {
                    reason: Some("no\0".into()),
                }
                .into(),
            ),
        ]);
        let row = &runs.rows.all()[0];
        assert_eq!((row.phase, row.paused), (Some("cancelled"), Some(false)));
        assert_eq!(row.error_message.as_deref(), Some("no\u{fffd}"));
        assert_eq!(row.completed_at, Some(at(3).time));
    }

    #[test]
    fn what_a_provider_claims_does_not_overflow() {
        let mut claim = answered(1, &[]);
        claim.usage.input_tokens = u64::MAX;
        let runs = fold((1..5).map(|seq| (seq, claim.clone().into())).collect());
        assert_eq!(
            runs.rows.all()[0].used.tokens,
            text::MAX_AMOUNT.unsigned_abs()
        );
    }
}

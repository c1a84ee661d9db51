//! `tool_calls`: one row a call that a model asked for, with what became of it.

use nexus_events::model::ToolCall;
use nexus_events::run::{PolicyPoint, Resolution, RunEvent, ToolResolved};
use nexus_events::{ApprovalId, RunId, Tenant, Timestamp};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::fold::{At, Rows, col};
use crate::{ids, text};

/// The calls that a batch changes.
#[derive(Debug, Default)]
pub(crate) struct ToolCalls {
    rows: Rows<(Tenant, Uuid), Row>,
    declined: Vec<Declined>,
    ended: Vec<Ended>,
}

#[derive(Debug)]
struct Row {
    tenant: Tenant,
    id: Uuid,
    asked: Option<Asked>,
    from_seq: u64,
    seq: u64,
    status: Option<&'static str>,
    version: Option<String>,
    attempts: Option<u32>,
    /// What an approver put in the place of the model's.
    arguments: Option<Value>,
    outcome: Outcome,
}

#[derive(Debug)]
struct Asked {
    run: RunId,
    turn: u32,
    call: ToolCall,
    position: u64,
    at: Timestamp,
}

#[derive(Debug, Default)]
struct Outcome {
    output: Option<Value>,
    reference: Option<Value>,
    latency_ms: Option<u64>,
    error_code: Option<String>,
    error_message: Option<String>,
    at: Option<Timestamp>,
}

/// People did not approve a call, if it was about one.
#[derive(Debug)]
struct Declined {
    tenant: Tenant,
    approval: ApprovalId,
    code: &'static str,
    words: String,
    at: Timestamp,
    seq: u64,
}

/// A run that ended: calls of it that have no outcome will never have one.
#[derive(Debug)]
struct Ended {
    tenant: Tenant,
    run: RunId,
    at: Timestamp,
    seq: u64,
}

impl Row {
    /// A call that was in doubt keeps what was known, as the table does where this comes in a batch
    /// of its own.
    fn ends_with(&mut self, outcome: Outcome) {
        let known = self.outcome.reference.take();
        self.outcome = Outcome {
            reference: outcome.reference.or(known),
            ..outcome
        };
    }

    fn resolve(&mut self, resolved: &ToolResolved, at: Timestamp) {
        match resolved.resolution {
            Resolution::Done => {
                let output = resolved.output.as_ref().map(text::body);
                let (inline, reference) = output.unwrap_or_default();
                self.status = Some("completed");
                self.ends_with(Outcome {
                    output: inline.as_deref().map(text::parse),
                    reference: reference.map(|reference| json!({ "output": reference })),
                    at: Some(at),
                    ..Outcome::default()
                });
            }
            Resolution::Failed => {
                self.status = Some("failed");
                self.ends_with(Outcome {
                    error_code: Some("resolved_as_failed".to_owned()),
                    error_message: resolved.reason.as_deref().map(text::owned),
                    at: Some(at),
                    ..Outcome::default()
                });
            }
            Resolution::Retry => self.status = Some("pending"),
        }
    }
}

impl ToolCalls {
    pub(crate) fn run(&mut self, at: &At<'_>, run: RunId, event: &RunEvent) {
        match event {
            RunEvent::RunStarted(started) => {
                if let Some(call) = started.invoked() {
                    self.asked(at, run, 1, &call, 0);
                }
            }
            RunEvent::LlmCompleted(done) => {
                for (call, position) in done.tool_calls.iter().zip(0..) {
                    self.asked(at, run, done.turn, call, position);
                }
            }
            RunEvent::PolicyDecided(decided) => {
                if let (PolicyPoint::ToolCall { turn, call_id }, false, None) =
                    (&decided.point, decided.allowed, &decided.approval)
                {
                    let reasons = text::owned(&decided.reasons.join("; "));
                    let row = self.row(at, run, *turn, call_id);
                    row.status = Some("denied");
                    row.ends_with(Outcome {
                        error_code: Some("policy_denied".to_owned()),
                        error_message: Some(reasons),
                        at: Some(at.time),
                        ..Outcome::default()
                    });
                }
            }
            RunEvent::ToolArgumentsChanged(changed) => {
                let row = self.row(at, run, changed.turn, &changed.call_id);
                row.arguments = Some(text::clean(changed.arguments.clone()));
            }
            RunEvent::ApprovalDenied(denied) => {
                let words = text::owned(&denied.words());
                self.decline(at, denied.approval_id, "approval_denied", words);
            }
            RunEvent::ApprovalExpired(expired) => {
                let words = "nobody approved it in time".to_owned();
                self.decline(at, expired.approval_id, "approval_expired", words);
            }
            RunEvent::ToolStarted(started) => {
                let row = self.row(at, run, started.turn, &started.call_id);
                row.status = Some("running");
                row.version = Some(version(&started.version));
                row.attempts = Some(started.attempt);
            }
            RunEvent::ToolCompleted(done) => {
                let (inline, reference) = text::body(&done.output);
                let row = self.row(at, run, done.turn, &done.call_id);
                row.status = Some("completed");
                row.ends_with(Outcome {
                    output: inline.as_deref().map(text::parse),
                    reference: reference.map(|reference| json!({ "output": reference })),
                    latency_ms: Some(done.duration_ms),
                    at: Some(at.time),
                    ..Outcome::default()
                });
            }
            RunEvent::ToolFailed(failed) => {
                let row = self.row(at, run, failed.turn, &failed.call_id);
                row.status = Some("failed");
                row.ends_with(Outcome {
                    latency_ms: Some(failed.duration_ms),
                    error_code: Some(text::owned(&failed.code)),
                    error_message: Some(text::owned(&failed.message)),
                    at: Some(at.time),
                    ..Outcome::default()
                });
            }
            RunEvent::ToolInDoubt(doubt) => {
                let row = self.row(at, run, doubt.turn, &doubt.call_id);
                row.status = Some("in_doubt");
                let message = text::owned(&doubt.message);
                row.outcome.reference = Some(json!({ "in_doubt": message }));
            }
            RunEvent::ToolResolved(resolved) => {
                let row = self.row(at, run, resolved.turn, &resolved.call_id);
                row.resolve(resolved, at.time);
            }
            RunEvent::RunCompleted(ended) => {
                for call in &ended.client_calls {
                    let row = self.row(at, run, call.turn, &call.call_id);
                    row.status = Some("handed_over");
                    row.outcome.at = Some(at.time);
                }
            }
            RunEvent::RunFailed(_) | RunEvent::RunCancelled(_) => {
                let tenant = at.tenant.clone();
                self.ended.push(Ended {
                    tenant,
                    run,
                    at: at.time,
                    seq: at.seq,
                });
            }
            _ => {}
        }
    }

    fn decline(&mut self, at: &At<'_>, approval: ApprovalId, code: &'static str, words: String) {
        self.declined.push(Declined {
            tenant: at.tenant.clone(),
            approval,
            code,
            words,
            at: at.time,
            seq: at.seq,
        });
    }

    fn row(&mut self, at: &At<'_>, run: RunId, turn: u32, call: &str) -> &mut Row {
        let id = ids::of_run(run, "tool", turn.into(), call);
        let row = self.rows.entry((at.tenant.clone(), id), || Row {
            tenant: at.tenant.clone(),
            id,
            asked: None,
            from_seq: at.seq,
            seq: at.seq,
            status: None,
            version: None,
            attempts: None,
            arguments: None,
            outcome: Outcome::default(),
        });
        row.seq = at.seq;
        row
    }

    fn asked(&mut self, at: &At<'_>, run: RunId, turn: u32, call: &ToolCall, position: u64) {
        let row = self.row(at, run, turn, &call.id);
        row.asked = Some(Asked {
            run,
            turn,
            call: call.clone(),
            position,
            at: at.time,
        });
        row.status = Some("pending");
    }

    pub(crate) async fn write(&self, db: &mut PgConnection) -> sqlx::Result<()> {
        let (new, old): (Vec<&Row>, Vec<&Row>) =
            self.rows.all().iter().partition(|row| row.asked.is_some());
        insert(db, &new).await?;
        update(db, &old).await?;
        decline(db, &self.declined).await?;
        abandon(db, &self.ended).await
    }
}

/// A version that fits its column.
fn version(version: &str) -> String {
    text::text(version).chars().take(50).collect()
}

async fn insert(db: &mut PgConnection, rows: &[&Row]) -> sqlx::Result<()> {
    let asked: Vec<(&Row, &Asked)> = rows
        .iter()
        .filter_map(|row| row.asked.as_ref().map(|asked| (*row, asked)))
        .collect();
    if asked.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO tool_calls (tenant, id, run_id, turn, call_id, tool_name, tool_version, input,
             output, latency_ms, attempts, status, error_code, error_message, created_at,
             completed_at, metadata, position, seq)
         SELECT * FROM UNNEST($1::text[], $2::uuid[], $3::uuid[], $4::int4[], $5::text[],
             $6::text[], $7::text[], $8::jsonb[], $9::jsonb[], $10::int4[], $11::int4[],
             $12::text[], $13::text[], $14::text[], $15::timestamptz[], $16::timestamptz[],
             $17::jsonb[], $18::int4[], $19::int8[])
         ON CONFLICT (tenant, id) DO NOTHING",
        col(&asked, |(row, _)| row.tenant.as_str()) as _,
        &col(&asked, |(row, _)| row.id),
        &col(&asked, |(_, asked)| asked.run.uuid()),
        &col(&asked, |(_, asked)| text::small(asked.turn.into())),
        &col(&asked, |(_, asked)| text::name(&asked.call.id)),
        &col(&asked, |(_, asked)| text::name(&asked.call.name)),
        col(&asked, |(row, _)| row
            .version
            .as_deref()
            .unwrap_or_default()) as _,
        &col(&asked, |(row, asked)| row
            .arguments
            .clone()
            .unwrap_or_else(|| text::clean(asked.call.arguments.clone()))),
        col(&asked, |(row, _)| row.outcome.output.clone()) as _,
        col(&asked, |(row, _)| row.outcome.latency_ms.map(text::small)) as _,
        &col(&asked, |(row, _)| text::small(
            row.attempts.unwrap_or(0).into()
        )),
        col(&asked, |(row, _)| row.status.unwrap_or("pending")) as _,
        col(&asked, |(row, _)| row.outcome.error_code.as_deref()) as _,
        col(&asked, |(row, _)| row.outcome.error_message.as_deref()) as _,
        &col(&asked, |(_, asked)| text::at(asked.at)),
        col(&asked, |(row, _)| row.outcome.at.map(text::at)) as _,
        col(&asked, |(row, _)| row.outcome.reference.clone()) as _,
        &col(&asked, |(_, asked)| text::small(asked.position)),
        &col(&asked, |(row, _)| text::seq(row.seq)),
    )
    .execute(db)
    .await?;
    Ok(())
}

async fn update(db: &mut PgConnection, rows: &[&Row]) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let rows = rows.iter().copied();
    sqlx::query!(
        "UPDATE tool_calls t SET
             status = coalesce(u.status, t.status),
             tool_version = coalesce(u.tool_version, t.tool_version),
             attempts = coalesce(u.attempts, t.attempts),
             output = coalesce(u.output, t.output),
             metadata = coalesce(u.metadata, t.metadata),
             latency_ms = coalesce(u.latency_ms, t.latency_ms),
             error_code = coalesce(u.error_code, t.error_code),
             error_message = coalesce(u.error_message, t.error_message),
             completed_at = coalesce(u.completed_at, t.completed_at),
             input = coalesce(u.input, t.input),
             seq = u.seq
         FROM UNNEST($1::text[], $2::uuid[], $3::int8[], $4::int8[], $5::text[], $6::text[],
             $7::int4[], $8::jsonb[], $9::jsonb[], $10::int4[], $11::text[], $12::text[],
             $13::timestamptz[], $14::jsonb[])
           AS u(tenant, id, from_seq, seq, status, tool_version, attempts, output, metadata,
             latency_ms, error_code, error_message, completed_at, input)
         WHERE t.id = u.id AND t.tenant IS NOT DISTINCT FROM u.tenant AND t.seq < u.from_seq",
        col(rows.clone(), |row| row.tenant.as_str()) as _,
        &col(rows.clone(), |row| row.id),
        &col(rows.clone(), |row| text::seq(row.from_seq)),
        &col(rows.clone(), |row| text::seq(row.seq)),
        col(rows.clone(), |row| row.status) as _,
        col(rows.clone(), |row| row.version.as_deref()) as _,
        col(rows.clone(), |row| row
            .attempts
            .map(|attempts| text::small(attempts.into()))) as _,
        col(rows.clone(), |row| row.outcome.output.clone()) as _,
        col(rows.clone(), |row| row.outcome.reference.clone()) as _,
        col(rows.clone(), |row| row.outcome.latency_ms.map(text::small)) as _,
        col(rows.clone(), |row| row.outcome.error_code.as_deref()) as _,
        col(rows.clone(), |row| row.outcome.error_message.as_deref()) as _,
        col(rows.clone(), |row| row.outcome.at.map(text::at)) as _,
        col(rows, |row| row.arguments.clone()) as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Says of calls that people did not approve that they will never be made. Which call it is about
/// is found by the question.
async fn decline(db: &mut PgConnection, declined: &[Declined]) -> sqlx::Result<()> {
    if declined.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE tool_calls t SET status = 'denied', error_code = u.code, error_message = u.words,
             completed_at = u.at, seq = u.seq
         FROM UNNEST($1::text[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::int8[])
           AS u(tenant, approval_id, code, words, at, seq)
         JOIN approvals a ON a.id = u.approval_id AND a.tenant IS NOT DISTINCT FROM u.tenant
         WHERE t.id = a.tool_call_id AND t.tenant IS NOT DISTINCT FROM u.tenant
           AND t.seq <= u.seq AND t.status = 'pending'",
        col(declined, |declined| declined.tenant.as_str()) as _,
        &col(declined, |declined| declined.approval.uuid()),
        col(declined, |declined| declined.code) as _,
        &col(declined, |declined| declined.words.clone()),
        &col(declined, |declined| text::at(declined.at)),
        &col(declined, |declined| text::seq(declined.seq)),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Says of calls without an outcome that their run ended first.
async fn abandon(db: &mut PgConnection, ended: &[Ended]) -> sqlx::Result<()> {
    if ended.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE tool_calls t SET status = 'abandoned', completed_at = u.at, seq = u.seq
         FROM UNNEST($1::text[], $2::uuid[], $3::timestamptz[], $4::int8[])
           AS u(tenant, run_id, at, seq)
         WHERE t.tenant = u.tenant AND t.run_id = u.run_id AND t.seq <= u.seq
           AND t.status IN ('pending', 'running', 'in_doubt')",
        col(ended, |ended| ended.tenant.as_str()) as _,
        &col(ended, |ended| ended.run.uuid()),
        &col(ended, |ended| text::at(ended.at)),
        &col(ended, |ended| text::seq(ended.seq)),
    )
    .execute(db)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::panic, reason = "a test may fail")]

    use nexus_events::Body;
    use nexus_events::run::{RunFailed, ToolCompleted, ToolStarted};

    use super::*;
    use crate::fold::testing::{RUN, answered, at, decided};

    fn point(call: &str) -> PolicyPoint {
        PolicyPoint::ToolCall {
            turn: 1,
            call_id: call.into(),
        }
    }

    #[test]
    fn calls_of_one_answer_go_their_own_ways() {
        let mut calls = ToolCalls::default();
        let mut apply = |seq, event: RunEvent| calls.run(&at(seq), RUN, &event);
        apply(1, answered(1, &["a", "b", "c"]).into());
        apply(2, decided(point("a"), true).into());
        apply(2, decided(point("b"), false).into());
        let (turn, call_id) = (1, "a".to_owned());
        let started = ToolStarted {
            turn,
            call_id: call_id.clone(),
            tool: "calculator".into(),
            version: "1.0.0".into(),
            attempt: 2,
        };
        apply(3, started.into());
        let output = Body::Stored {
            object: "sha256:1".into(),
            bytes: 9,
        };
        apply(
            4,
            ToolCompleted {
                turn,
                call_id,
                output,
                duration_ms: 7,
                tokens: None,
                reused: None,
            }
            .into(),
        );
        apply(
            5,
            RunFailed {
                code: "x".into(),
                message: "y".into(),
            }
            .into(),
        );
        let [a, b, c] = calls.rows.all() else {
            panic!("{calls:?}")
        };
        assert_eq!(
            (a.status, a.attempts, a.outcome.latency_ms),
            (Some("completed"), Some(2), Some(7))
        );
        assert_eq!(a.outcome.output, None);
        assert_eq!(
            a.outcome
                .reference
                .as_ref()
                .map(|at| at["output"]["bytes"].clone()),
            Some(9.into())
        );
        assert_eq!(
            (b.status, b.outcome.error_message.as_deref()),
            (Some("denied"), Some("so; it is"))
        );
        // The table knows which calls have no outcome: it is told of the end.
        assert_eq!((c.status, calls.ended.len()), (Some("pending"), 1));
    }
}

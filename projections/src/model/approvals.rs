//! `approvals`: one row a question to people, with what they answered. It holds all that is asked, so
//! that whoever answers needs to look nowhere else.

use nexus_events::run::{ApprovalRequested, PolicyPoint, RunEvent};
use nexus_events::{ApprovalId, RunId, Tenant, Timestamp};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::fold::{At, Rows, col};
use crate::{ids, text};

/// The questions that a batch changes.
#[derive(Debug, Default)]
pub(crate) struct Approvals {
    rows: Rows<(Tenant, ApprovalId), Row>,
    ended: Vec<Ended>,
}

#[derive(Debug)]
struct Row {
    tenant: Tenant,
    id: ApprovalId,
    asked: Option<Asked>,
    from_seq: u64,
    seq: u64,
    status: Option<&'static str>,
    answers: Vec<Value>,
    further_roles: Vec<String>,
    changed: Option<(Value, String)>,
    escalated_at: Option<Timestamp>,
    decided_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Asked {
    run: RunId,
    event: ApprovalRequested,
    at: Timestamp,
    position: u32,
}

/// A run that ended: questions of it that are open are void.
#[derive(Debug)]
struct Ended {
    tenant: Tenant,
    run: RunId,
    at: Timestamp,
    seq: u64,
}

impl Approvals {
    pub(crate) fn run(&mut self, at: &At<'_>, run: RunId, event: &RunEvent) {
        match event {
            RunEvent::ApprovalRequested(asked) => {
                let row = self.row(at, asked.approval_id);
                row.asked = Some(Asked {
                    run,
                    event: asked.clone(),
                    at: at.time,
                    position: at.position,
                });
                row.status = Some("pending");
            }
            RunEvent::ToolArgumentsChanged(changed) => {
                let arguments = text::clean(changed.arguments.clone());
                let row = self.row(at, changed.approval_id);
                row.changed = Some((arguments, text::owned(&changed.subject)));
            }
            RunEvent::ApprovalGranted(granted) => {
                let row = self.row(at, granted.approval_id);
                row.answer(at, "approve", &granted.approver, granted.reason.as_deref());
                if granted.missing == 0 {
                    row.decide("approved", at.time);
                }
            }
            RunEvent::ApprovalDenied(denied) => {
                let row = self.row(at, denied.approval_id);
                row.answer(at, "deny", &denied.approver, denied.reason.as_deref());
                row.decide("denied", at.time);
            }
            RunEvent::ApprovalExpired(expired) => {
                self.row(at, expired.approval_id).decide("expired", at.time);
            }
            RunEvent::ApprovalEscalated(escalated) => {
                let row = self.row(at, escalated.approval_id);
                let roles = escalated.roles.iter();
                row.further_roles
                    .extend(roles.map(|role| text::owned(role)));
                row.escalated_at = Some(at.time);
            }
            RunEvent::PolicyDecided(decided) => {
                if let Some(id) = decided.void {
                    self.row(at, id).decide("void", at.time);
                }
            }
            RunEvent::RunCompleted(_) | RunEvent::RunFailed(_) | RunEvent::RunCancelled(_) => {
                self.ended.push(Ended {
                    tenant: at.tenant.clone(),
                    run,
                    at: at.time,
                    seq: at.seq,
                });
            }
            _ => {}
        }
    }

    fn row(&mut self, at: &At<'_>, id: ApprovalId) -> &mut Row {
        let row = self.rows.entry((at.tenant.clone(), id), || Row {
            tenant: at.tenant.clone(),
            id,
            asked: None,
            from_seq: at.seq,
            seq: at.seq,
            status: None,
            answers: vec![],
            further_roles: vec![],
            changed: None,
            escalated_at: None,
            decided_at: None,
        });
        row.seq = at.seq;
        row
    }

    pub(crate) async fn write(&self, db: &mut PgConnection) -> sqlx::Result<()> {
        let (new, old): (Vec<&Row>, Vec<&Row>) =
            self.rows.all().iter().partition(|row| row.asked.is_some());
        insert(db, &new).await?;
        update(db, &old).await?;
        close(db, &self.ended).await
    }
}

impl Row {
    fn answer(&mut self, at: &At<'_>, answer: &str, user: &str, reason: Option<&str>) {
        self.answers.push(json!({
            "user": text::name(user),
            "answer": answer,
            "reason": reason.map(text::owned),
            "at": at.time,
        }));
    }

    fn decide(&mut self, status: &'static str, at: Timestamp) {
        self.status = Some(status);
        self.decided_at = Some(at);
    }
}

impl Asked {
    fn turn(&self) -> u32 {
        match self.event.point {
            PolicyPoint::RunStart => 0,
            PolicyPoint::LlmCall { turn } | PolicyPoint::ToolCall { turn, .. } => turn,
        }
    }

    fn call_id(&self) -> Option<&str> {
        match &self.event.point {
            PolicyPoint::ToolCall { call_id, .. } => Some(call_id),
            _ => None,
        }
    }

    fn tool_call(&self) -> Option<Uuid> {
        let call = self.call_id()?;
        Some(ids::of_run(self.run, "tool", self.turn().into(), call))
    }
}

async fn insert(db: &mut PgConnection, rows: &[&Row]) -> sqlx::Result<()> {
    let asked: Vec<(&Row, &Asked)> = rows
        .iter()
        .filter_map(|row| row.asked.as_ref().map(|asked| (*row, asked)))
        .collect();
    if asked.is_empty() {
        return Ok(());
    }
    let roles = |row: &Row, asked: &Asked| {
        let all = asked.event.roles.iter().chain(&row.further_roles);
        Value::from_iter(all.map(|role| text::owned(role)))
    };
    let arguments = |row: &Row, asked: &Asked| match &row.changed {
        Some((arguments, _)) => Some(arguments.clone()),
        None => asked.event.arguments.clone().map(text::clean),
    };
    let subject = |row: &Row, asked: &Asked| match &row.changed {
        Some((_, subject)) => subject.clone(),
        None => text::owned(&asked.event.subject),
    };
    sqlx::query!(
        "INSERT INTO approvals (tenant, id, run_id, point, turn, call_id, tool_call_id, tool,
             arguments, subject, bundle, reasons, requester, roles, count, answers, status,
             requested_at, expires_at, escalated_at, decided_at, first_seq, position, seq)
         SELECT * FROM UNNEST($1::text[], $2::uuid[], $3::uuid[], $4::text[], $5::int4[],
             $6::text[], $7::uuid[], $8::text[], $9::jsonb[], $10::text[], $11::text[],
             $12::jsonb[], $13::text[], $14::jsonb[], $15::int4[], $16::jsonb[], $17::text[],
             $18::timestamptz[], $19::timestamptz[], $20::timestamptz[], $21::timestamptz[],
             $22::int8[], $23::int4[], $24::int8[])
         ON CONFLICT (id, tenant) DO NOTHING",
        col(&asked, |(row, _)| row.tenant.as_str()) as _,
        &col(&asked, |(row, _)| row.id.uuid()),
        &col(&asked, |(_, asked)| asked.run.uuid()),
        col(&asked, |(_, asked)| asked.event.point.name()) as _,
        &col(&asked, |(_, asked)| text::small(asked.turn().into())),
        col(&asked, |(_, asked)| asked.call_id().map(text::owned)) as _,
        col(&asked, |(_, asked)| asked.tool_call()) as _,
        col(&asked, |(_, asked)| asked
            .event
            .tool
            .as_deref()
            .map(text::name)) as _,
        col(&asked, |(row, asked)| arguments(row, asked)) as _,
        &col(&asked, |(row, asked)| subject(row, asked)),
        &col(&asked, |(_, asked)| text::name(&asked.event.bundle)),
        &col(&asked, |(_, asked)| text::json(&asked.event.reasons)),
        &col(&asked, |(_, asked)| text::name(&asked.event.requester)),
        &col(&asked, |(row, asked)| roles(row, asked)),
        &col(&asked, |(_, asked)| text::small(asked.event.count.into())),
        &col(&asked, |(row, _)| Value::from(row.answers.clone())),
        col(&asked, |(row, _)| row.status.unwrap_or("pending")) as _,
        &col(&asked, |(_, asked)| text::at(asked.at)),
        &col(&asked, |(_, asked)| text::at(asked.event.expires_at)),
        col(&asked, |(row, _)| row.escalated_at.map(text::at)) as _,
        col(&asked, |(row, _)| row.decided_at.map(text::at)) as _,
        &col(&asked, |(row, _)| text::seq(row.from_seq)),
        &col(&asked, |(_, asked)| text::small(asked.position.into())),
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
    let roles = |row: &Row| Value::from(row.further_roles.clone());
    sqlx::query!(
        "UPDATE approvals a SET
             status = coalesce(u.status, a.status),
             answers = a.answers || u.answers,
             roles = a.roles || u.roles,
             arguments = coalesce(u.arguments, a.arguments),
             subject = coalesce(u.subject, a.subject),
             escalated_at = coalesce(u.escalated_at, a.escalated_at),
             decided_at = coalesce(u.decided_at, a.decided_at),
             seq = u.seq
         FROM UNNEST($1::text[], $2::uuid[], $3::int8[], $4::int8[], $5::text[], $6::jsonb[],
             $7::jsonb[], $8::jsonb[], $9::text[], $10::timestamptz[], $11::timestamptz[])
           AS u(tenant, id, from_seq, seq, status, answers, roles, arguments, subject,
             escalated_at, decided_at)
         WHERE a.id = u.id AND a.tenant IS NOT DISTINCT FROM u.tenant AND a.seq < u.from_seq",
        col(rows.clone(), |row| row.tenant.as_str()) as _,
        &col(rows.clone(), |row| row.id.uuid()),
        &col(rows.clone(), |row| text::seq(row.from_seq)),
        &col(rows.clone(), |row| text::seq(row.seq)),
        col(rows.clone(), |row| row.status) as _,
        &col(rows.clone(), |row| Value::from(row.answers.clone())),
        &col(rows.clone(), roles),
        col(rows.clone(), |row| row
            .changed
            .as_ref()
            .map(|(arguments, _)| arguments.clone())) as _,
        col(rows.clone(), |row| row
            .changed
            .as_ref()
            .map(|(_, subject)| subject.as_str())) as _,
        col(rows.clone(), |row| row.escalated_at.map(text::at)) as _,
        col(rows, |row| row.decided_at.map(text::at)) as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Questions of a run that ended are void. Which are open is not asked by the status: its index leads
/// past the run to those of everybody.
async fn close(db: &mut PgConnection, ended: &[Ended]) -> sqlx::Result<()> {
    if ended.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE approvals a SET status = 'void', decided_at = u.at, seq = u.seq
         FROM UNNEST($1::text[], $2::uuid[], $3::timestamptz[], $4::int8[])
           AS u(tenant, run_id, at, seq)
         WHERE a.run_id = u.run_id AND a.tenant IS NOT DISTINCT FROM u.tenant AND a.seq <= u.seq
           AND a.decided_at IS NULL",
        col(ended, |ended| ended.tenant.as_str()) as _,
        &col(ended, |ended| ended.run.uuid()),
        &col(ended, |ended| text::at(ended.at)),
        &col(ended, |ended| text::seq(ended.seq)),
    )
    .execute(db)
    .await?;
    Ok(())
}

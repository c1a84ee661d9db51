//! `audit_logs`: who did what, when, to what, and why it was allowed. A row is written once.
//!
//! Which events are audited is decided here, exhaustively: a new event asks for a decision.

use nexus_events::ledger::LedgerEvent;
use nexus_events::policy::PolicyEvent;
use nexus_events::run::{PolicyDecided, PolicyPoint, RunEvent};
use nexus_events::session::SessionEvent;
use nexus_events::{ApprovalId, RunId, SessionId, Tenant, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::fold::{At, col};
use crate::{ids, text};

/// What time did.
const SYSTEM: &str = "system";

/// The entries that a batch brings.
#[derive(Debug, Default)]
pub(crate) struct AuditLogs {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    tenant: Tenant,
    id: Uuid,
    user: Option<String>,
    run: Option<RunId>,
    action: &'static str,
    resource_type: &'static str,
    resource_id: String,
    details: Value,
    at: Timestamp,
    seq: u64,
}

impl AuditLogs {
    pub(crate) fn run(&mut self, at: &At<'_>, run: RunId, event: &RunEvent) {
        match event {
            RunEvent::RunStarted(started) => {
                let details = json!({
                    "session_id": started.session.id,
                    "agent": started.agent,
                    "model": started.model,
                    "tools": started.tools,
                    "budget": started.budget,
                    "roles": started.user.roles,
                });
                let row = self.about_run(at, run, "run.started", details);
                row.user = Some(text::name(&started.user.user));
            }
            RunEvent::PolicyDecided(decided) => {
                let action = match (decided.allowed, &decided.approval) {
                    (true, _) => "policy.allowed",
                    (false, Some(_)) => "policy.approval_required",
                    (false, None) => "policy.denied",
                };
                self.about_run(at, run, action, judgement(decided));
            }
            RunEvent::ReservationRefused(refused) => {
                self.about_run(at, run, "budget.refused", text::json(refused));
            }
            RunEvent::RunPaused(paused) => {
                self.about_run(at, run, "run.paused", json!({ "reason": paused.reason }));
            }
            RunEvent::RunResumed(resumed) => {
                self.about_run(at, run, "run.resumed", json!({ "reason": resumed.reason }));
            }
            RunEvent::RunCancelled(cancelled) => {
                self.about_run(
                    at,
                    run,
                    "run.cancelled",
                    json!({ "reason": cancelled.reason }),
                );
            }
            RunEvent::RunSignalled(_) => {
                self.about_run(at, run, "run.signalled", json!({}));
            }
            RunEvent::ApprovalRequested(asked) => {
                self.about_approval(at, run, "approval.requested", asked.approval_id, asked);
            }
            RunEvent::ApprovalGranted(granted) => {
                let row = self.about_approval(at, run, "approval.granted", granted.approval_id, granted);
                row.user = Some(text::name(&granted.approver));
            }
            RunEvent::ApprovalDenied(denied) => {
                let row = self.about_approval(at, run, "approval.denied", denied.approval_id, denied);
                row.user = Some(text::name(&denied.approver));
            }
            RunEvent::ApprovalExpired(expired) => {
                let row = self.about_approval(at, run, "approval.expired", expired.approval_id, expired);
                row.user = Some(SYSTEM.to_owned());
            }
            RunEvent::ApprovalEscalated(escalated) => {
                let id = escalated.approval_id;
                let row = self.about_approval(at, run, "approval.escalated", id, escalated);
                row.user = Some(SYSTEM.to_owned());
            }
            RunEvent::ToolArgumentsChanged(changed) => {
                let id = changed.approval_id;
                self.about_approval(at, run, "approval.arguments_changed", id, changed);
            }
            // What the platform did by itself is in the other tables.
            RunEvent::ReservationGranted(_)
            | RunEvent::ReservationLapsed(_)
            | RunEvent::RunParked(_)
            | RunEvent::ModelDowngraded(_)
            | RunEvent::LlmCompleted(_)
            | RunEvent::LlmFailed(_)
            | RunEvent::LlmAborted(_)
            | RunEvent::ToolStarted(_)
            | RunEvent::ToolCompleted(_)
            | RunEvent::ToolFailed(_)
            | RunEvent::RunCompleted(_)
            | RunEvent::RunFailed(_) => {}
        }
    }

    pub(crate) fn session(&mut self, at: &At<'_>, id: SessionId, event: &SessionEvent) {
        let (action, details) = match event {
            SessionEvent::SessionOpened(opened) => {
                ("session.opened", json!({ "budget": opened.budget }))
            }
            SessionEvent::SessionClosed(_) => ("session.closed", json!({})),
            SessionEvent::SessionRunAttached(_) => return,
        };
        self.add(at, action, "session", id.to_string(), details);
    }

    pub(crate) fn ledger(&mut self, at: &At<'_>, event: &LedgerEvent) {
        match event {
            LedgerEvent::LimitsSet(set) => {
                let (kind, id) = text::scope_key(&set.scope);
                self.add(
                    at,
                    "budget.limits_set",
                    "budget",
                    scope_name(kind, &id),
                    text::json(set),
                );
            }
            LedgerEvent::BudgetOverrun(overrun) => {
                let (action, details) = ("budget.overrun", text::json(overrun));
                match overrun.run_id {
                    Some(run) => self.about_run(at, run, action, details),
                    None => {
                        let id = overrun.reservation_id.to_string();
                        self.add(at, action, "reservation", id, details)
                    }
                };
            }
            LedgerEvent::BudgetReserved(_)
            | LedgerEvent::BudgetSettled(_)
            | LedgerEvent::ThresholdReached(_)
            | LedgerEvent::ReservationExpired(_)
            | LedgerEvent::ReservationParked(_)
            | LedgerEvent::ReservationRequeued(_)
            | LedgerEvent::ReservationRefused(_)
            | LedgerEvent::ReservationWithdrawn(_)
            | LedgerEvent::RunReleased(_) => {}
        }
    }

    pub(crate) fn policy(&mut self, at: &At<'_>, event: &PolicyEvent) {
        let (action, digest, details) = match event {
            PolicyEvent::BundlePublished(published) => {
                let modules: Vec<&String> = published.modules.keys().collect();
                (
                    "policy.published",
                    &published.digest,
                    json!({ "modules": modules }),
                )
            }
            PolicyEvent::BundleActivated(activated) => {
                let details = match &activated.instead_of {
                    Some(digest) => json!({ "rolled_back": digest }),
                    None => json!({}),
                };
                ("policy.activated", &activated.digest, details)
            }
            PolicyEvent::BundleShadowed(shadowed) => {
                let none = String::new();
                let (action, digest) = match &shadowed.digest {
                    Some(digest) => ("policy.shadowed", digest),
                    None => ("policy.unshadowed", &none),
                };
                self.add(at, action, "policy_bundle", text::name(digest), json!({}));
                return;
            }
        };
        self.add(at, action, "policy_bundle", text::name(digest), details);
    }

    fn about_run(
        &mut self,
        at: &At<'_>,
        run: RunId,
        action: &'static str,
        details: Value,
    ) -> &mut Row {
        let row = self.add(at, action, "run", run.to_string(), details);
        row.run = Some(run);
        row
    }

    /// A question to people, and what became of it.
    fn about_approval(
        &mut self,
        at: &At<'_>,
        run: RunId,
        action: &'static str,
        id: ApprovalId,
        event: &impl Serialize,
    ) -> &mut Row {
        let mut details = text::json(event);
        details["run_id"] = text::json(&run);
        let row = self.add(at, action, "approval", id.to_string(), details);
        row.run = Some(run);
        row
    }

    fn add(
        &mut self,
        at: &At<'_>,
        action: &'static str,
        resource_type: &'static str,
        resource_id: String,
        details: Value,
    ) -> &mut Row {
        self.rows.push(Row {
            tenant: at.tenant.clone(),
            id: ids::of_position(at.seq, at.position),
            user: at.actor.map(|actor| text::name(&actor.user)),
            run: None,
            action,
            resource_type,
            resource_id,
            details: text::clean(details),
            at: at.time,
            seq: at.seq,
        });
        let last = self.rows.len() - 1;
        &mut self.rows[last]
    }

    /// Runs must be written before: where nobody acted, a step was taken for whoever started the run.
    pub(crate) async fn write(&self, db: &mut PgConnection) -> sqlx::Result<()> {
        let rows = &self.rows;
        if rows.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "INSERT INTO audit_logs (tenant, id, user_id, action, resource_type, resource_id,
                 details, created_at, seq)
             SELECT u.tenant, u.id, coalesce(u.user_id, r.user_id, 'system'), u.action,
                 u.resource_type, u.resource_id, u.details, u.created_at, u.seq
             FROM UNNEST($1::text[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[],
                 $7::jsonb[], $8::timestamptz[], $9::int8[], $10::uuid[])
               AS u(tenant, id, user_id, action, resource_type, resource_id, details, created_at,
                 seq, run_id)
             LEFT JOIN agent_runs r ON u.user_id IS NULL
               AND r.id = u.run_id AND r.tenant IS NOT DISTINCT FROM u.tenant
             ON CONFLICT (tenant, id) DO NOTHING",
            col(rows, |row| row.tenant.as_str()) as _,
            &col(rows, |row| row.id),
            col(rows, |row| row.user.as_deref()) as _,
            col(rows, |row| row.action) as _,
            col(rows, |row| row.resource_type) as _,
            col(rows, |row| row.resource_id.as_str()) as _,
            &col(rows, |row| row.details.clone()),
            &col(rows, |row| text::at(row.at)),
            &col(rows, |row| text::seq(row.seq)),
            col(rows, |row| row.run.map(RunId::uuid)) as _,
        )
        .execute(db)
        .await?;
        Ok(())
    }
}

/// A budget's name: `<kind>:<id>`, or `tenant`.
fn scope_name(kind: &str, id: &str) -> String {
    if id.is_empty() {
        kind.to_owned()
    } else {
        text::name(&format!("{kind}:{id}"))
    }
}

fn judgement(decided: &PolicyDecided) -> Value {
    let (turn, call_id) = match &decided.point {
        PolicyPoint::RunStart => (None, None),
        PolicyPoint::LlmCall { turn } => (Some(turn), None),
        PolicyPoint::ToolCall { turn, call_id } => (Some(turn), Some(call_id)),
    };
    json!({
        "point": decided.point.name(),
        "turn": turn,
        "call_id": call_id,
        "reasons": decided.reasons,
        "rules": decided.rules,
        "bundle": decided.bundle,
        "duration_us": decided.duration_us,
        "error": decided.error,
        "approval": decided.approval,
        "void": decided.void,
        "obligations": decided.obligations,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::panic, reason = "a test may fail")]

    use nexus_events::Actor;
    use nexus_events::ledger::{Limits, LimitsSet, Scope, Window};
    use nexus_events::run::RunCancelled;

    use super::*;
    use crate::fold::testing::{RUN, answered, at, decided};

    #[test]
    fn an_entry_says_who_what_and_why() {
        let mut audit = AuditLogs::default();
        let root = Actor {
            user: "root".into(),
            roles: vec![],
        };
        audit.run(
            &at(1),
            RUN,
            &decided(PolicyPoint::LlmCall { turn: 3 }, false).into(),
        );
        let by_root = At {
            actor: Some(&root),
            position: 1,
            ..at(1)
        };
        audit.run(
            &by_root,
            RUN,
            &RunCancelled {
                reason: Some("late".into()),
            }
            .into(),
        );
        let (scope, window, limits) = (Scope::User("ada".into()), Window::Day, Limits::default());
        audit.ledger(
            &at(2),
            &LimitsSet {
                scope,
                window,
                limits,
                on_exhausted: Default::default(),
                thresholds: Default::default(),
                brought_by: None,
            }
            .into(),
        );
        audit.run(&at(3), RUN, &answered(1, &[]).into());
        let [denied, cancelled, limited] = audit.rows.as_slice() else {
            panic!("{audit:?}")
        };
        assert_eq!(
            (denied.action, denied.user.as_deref(), denied.run),
            ("policy.denied", None, Some(RUN))
        );
        assert_eq!(denied.details["turn"], 3);
        assert_eq!(denied.details["reasons"], json!(["so", "it is"]));
        assert_eq!(
            (cancelled.user.as_deref(), &cancelled.details["reason"]),
            (Some("root"), &json!("late"))
        );
        assert_eq!(
            (limited.resource_type, limited.resource_id.as_str()),
            ("budget", "user:ada")
        );
        assert!(denied.id < cancelled.id && cancelled.id < limited.id);
    }
}

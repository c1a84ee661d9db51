//! `audit_logs`: who did what, when, to what, and why it was allowed. A row is written once, and
//! chained to the tenant's row before it (`audit`).
//!
//! Which events are audited is decided here, exhaustively: a new event asks for a decision, and one
//! line makes it an entry.

use nexus_events::access::AccessEvent;
use nexus_events::keys::KeyEvent;
use nexus_events::ledger::{LedgerEvent, LimitsSet, Scope};
use nexus_events::policy::PolicyEvent;
use nexus_events::run::{PolicyDecided, PolicyPoint, ReservationRefused, RunEvent};
use nexus_events::session::SessionEvent;
use nexus_events::tool::registry::ToolsEvent;
use nexus_events::webhook::{DisabledBy, WebhookCreated, WebhookEvent, WebhookUpdated};
use nexus_events::{ApprovalId, RunId, SessionId};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::audit::AuditRow;
use crate::audit::chain::{Chains, Owners};
use crate::audit::draft::Draft;
use crate::fold::{At, col};
use crate::text;

/// Who asked where nobody knows.
const ANONYMOUS: &str = "anonymous";

/// The entries that a batch brings.
#[derive(Debug, Default)]
pub(crate) struct AuditLogs {
    drafts: Vec<Draft>,
    /// Who started the runs that begin in it.
    owners: Owners,
}

impl AuditLogs {
    pub(crate) fn run(&mut self, at: &At<'_>, run: RunId, event: &RunEvent) {
        match event {
            RunEvent::RunStarted(started) => {
                let mut details = json!({
                    "session_id": started.session.id,
                    "agent": started.agent,
                    "model": started.model,
                    "tools": started.tools,
                    "budget": started.budget,
                    "roles": started.user.roles,
                });
                if let Some(given) = &started.given
                    && !given.client_tools.is_empty()
                {
                    details["client_tools"] = text::json(&given.client_tools);
                }
                let owner = text::name(&started.user.user);
                self.owners.insert((at.tenant.clone(), run), owner);
                self.about_run(at, run, "run.started")
                    .by(&started.user)
                    .with(details);
            }
            RunEvent::PolicyDecided(decided) => {
                let action = match (decided.allowed, &decided.approval) {
                    (true, _) => "policy.allowed",
                    (false, Some(_)) => "policy.approval_required",
                    (false, None) => "policy.denied",
                };
                self.about_run(at, run, action)
                    .because(Some(&why(decided)))
                    .with(judgement(decided));
            }
            RunEvent::ReservationRefused(refused) => {
                self.about_run(at, run, "budget.refused")
                    .because(Some(&too_little(refused)))
                    .with(text::json(refused));
            }
            RunEvent::RunPaused(paused) => self.steered(at, run, "run.paused", &paused.reason),
            RunEvent::RunResumed(resumed) => self.steered(at, run, "run.resumed", &resumed.reason),
            RunEvent::RunCancelled(cancelled) => {
                self.steered(at, run, "run.cancelled", &cancelled.reason);
            }
            RunEvent::RunSignalled(_) => self.steered(at, run, "run.signalled", &None),
            RunEvent::ApprovalRequested(asked) => {
                self.about_approval(at, run, "approval.requested", asked.approval_id, asked)
                    .for_run(run)
                    .because(Some(&asked.reasons.join("; ")));
            }
            RunEvent::ApprovalGranted(granted) => {
                self.about_approval(at, run, "approval.granted", granted.approval_id, granted)
                    .commanded()
                    .because(granted.reason.as_deref());
            }
            RunEvent::ApprovalDenied(denied) => {
                self.about_approval(at, run, "approval.denied", denied.approval_id, denied)
                    .commanded()
                    .because(denied.reason.as_deref());
            }
            RunEvent::ApprovalExpired(expired) => {
                self.about_approval(at, run, "approval.expired", expired.approval_id, expired);
            }
            RunEvent::ApprovalEscalated(escalated) => {
                self.about_approval(
                    at,
                    run,
                    "approval.escalated",
                    escalated.approval_id,
                    escalated,
                );
            }
            RunEvent::ToolArgumentsChanged(changed) => {
                self.about_approval(
                    at,
                    run,
                    "approval.arguments_changed",
                    changed.approval_id,
                    changed,
                )
                .commanded();
            }
            RunEvent::ToolInDoubt(doubt) => {
                self.about_run(at, run, "tool.in_doubt")
                    .because(Some(&doubt.message))
                    .with(text::json(doubt));
            }
            RunEvent::ToolResolved(resolved) => {
                self.about_run(at, run, "tool.resolved")
                    .commanded()
                    .because(resolved.reason.as_deref())
                    .with(text::json(resolved));
            }
            // What the platform did by itself is in the other tables.
            RunEvent::ReservationGranted(_)
            | RunEvent::ReservationLapsed(_)
            | RunEvent::RunParked(_)
            | RunEvent::ModelDowngraded(_)
            | RunEvent::ModelSwitched(_)
            | RunEvent::LlmCompleted(_)
            | RunEvent::LlmFailed(_)
            | RunEvent::LlmAborted(_)
            | RunEvent::ContextSummarised(_)
            | RunEvent::TextsEmbedded(_)
            | RunEvent::ToolStarted(_)
            | RunEvent::ToolCompleted(_)
            | RunEvent::ToolFailed(_)
            | RunEvent::RunDequeued(_)
            | RunEvent::RunAwaited(_)
            | RunEvent::RunTakenBack(_)
            | RunEvent::RunCompleted(_)
            | RunEvent::RunFailed(_) => {}
        }
    }

    pub(crate) fn session(&mut self, at: &At<'_>, id: SessionId, event: &SessionEvent) {
        let id = id.to_string();
        match event {
            SessionEvent::SessionOpened(opened) => {
                self.add(at, "session.opened", "session", &id)
                    .by(&opened.user)
                    .with(json!({ "budget": opened.budget, "run_id": opened.opened_by_run }));
            }
            SessionEvent::SessionClosed(_) => {
                self.add(at, "session.closed", "session", &id).commanded();
            }
            SessionEvent::SessionRunAttached(_)
            | SessionEvent::SessionRunQueued(_)
            | SessionEvent::SessionRunLeft(_) => {}
        }
    }

    pub(crate) fn ledger(&mut self, at: &At<'_>, event: &LedgerEvent) {
        match event {
            LedgerEvent::LimitsSet(set) => self.limits(at, set),
            LedgerEvent::BudgetOverrun(overrun) => {
                let because = Some("the provider reported more than was reserved");
                let details = text::json(overrun);
                match overrun.run_id {
                    Some(run) => self.about_run(at, run, "budget.overrun"),
                    None => {
                        let id = overrun.reservation_id.to_string();
                        self.add(at, "budget.overrun", "reservation", &id)
                    }
                }
                .because(because)
                .with(details);
            }
            LedgerEvent::ReservationRefused(refused) => {
                // Where a limit said so, the run's own log has it.
                if let Some(by) = &refused.by {
                    let id = refused.reservation_id.to_string();
                    let row = self.add(at, "budget.wait_refused", "reservation", &id);
                    row.by(by)
                        .because(refused.refusal.reason.as_deref())
                        .with(text::json(refused));
                    if let Some(run) = refused.run_id {
                        row.for_run(run);
                    }
                }
            }
            LedgerEvent::BudgetReserved(_)
            | LedgerEvent::BudgetSettled(_)
            | LedgerEvent::ThresholdReached(_)
            | LedgerEvent::ReservationExpired(_)
            | LedgerEvent::ReservationParked(_)
            | LedgerEvent::ReservationRequeued(_)
            | LedgerEvent::ReservationWithdrawn(_)
            | LedgerEvent::RunReleased(_) => {}
        }
    }

    pub(crate) fn policy(&mut self, at: &At<'_>, event: &PolicyEvent) {
        match event {
            PolicyEvent::BundlePublished(published) => {
                let modules: Vec<&String> = published.modules.keys().collect();
                self.add(at, "policy.published", "policy_bundle", &published.digest)
                    .commanded()
                    .with(json!({ "modules": modules }));
            }
            PolicyEvent::BundleActivated(activated) => {
                let instead = (activated.instead_of.as_ref())
                    .map_or_else(|| json!({}), |digest| json!({ "instead_of": digest }));
                self.add(at, "policy.activated", "policy_bundle", &activated.digest)
                    .commanded()
                    .with(instead);
            }
            PolicyEvent::BundleShadowed(shadowed) => {
                let (action, digest) = match &shadowed.digest {
                    Some(digest) => ("policy.shadowed", digest.as_str()),
                    None => ("policy.unshadowed", "*"),
                };
                self.add(at, action, "policy_bundle", digest).commanded();
            }
        }
    }

    pub(crate) fn keys(&mut self, at: &At<'_>, event: &KeyEvent) {
        match event {
            KeyEvent::KeyCreated(key) => {
                let id = key.key_id.to_string();
                self.add(at, "key.created", "api_key", &id)
                    .commanded()
                    .with(json!({
                        "name": key.name,
                        "user": key.user,
                        "roles": key.roles,
                        "groups": key.groups,
                        "expires_at": key.expires_at,
                    }));
            }
            KeyEvent::KeyRotated(rotated) => {
                let id = rotated.key_id.to_string();
                self.add(at, "key.rotated", "api_key", &id)
                    .commanded()
                    .with(json!({ "previous_until": rotated.previous_until }));
            }
            KeyEvent::KeyRevoked(revoked) => {
                let id = revoked.key_id.to_string();
                self.add(at, "key.revoked", "api_key", &id)
                    .commanded()
                    .because(revoked.reason.as_deref());
            }
        }
    }

    pub(crate) fn tools(&mut self, at: &At<'_>, event: &ToolsEvent) {
        let id = |name: &str, version: &str| format!("{name}@{version}");
        match event {
            ToolsEvent::ToolRegistered(registered) => {
                let definition = &registered.definition;
                let id = id(&definition.name, &definition.version);
                self.add(at, "tool.registered", "tool", &id)
                    .commanded()
                    .with(json!({
                        "digest": registered.digest,
                        "kind": definition.kind.name(),
                        "category": definition.category,
                        "idempotent": definition.idempotent,
                        "permissions": definition.permissions,
                        "limits": definition.limits,
                    }));
            }
            ToolsEvent::ToolDeprecated(retired) => {
                let id = id(&retired.name, &retired.version);
                self.add(at, "tool.deprecated", "tool", &id)
                    .commanded()
                    .because(retired.reason.as_deref());
            }
            ToolsEvent::ToolRemoved(retired) => {
                let id = id(&retired.name, &retired.version);
                self.add(at, "tool.removed", "tool", &id)
                    .commanded()
                    .because(retired.reason.as_deref());
            }
        }
    }

    pub(crate) fn webhooks(&mut self, at: &At<'_>, event: &WebhookEvent) {
        use WebhookEvent as E;
        let (action, id, by_hand) = match event {
            E::WebhookCreated(created) => ("webhook.created", created.webhook_id, true),
            E::WebhookUpdated(updated) => ("webhook.updated", updated.webhook_id, true),
            E::WebhookRotated(rotated) => ("webhook.rotated", rotated.webhook_id, true),
            E::WebhookEnabled(enabled) => ("webhook.enabled", enabled.webhook_id, true),
            E::WebhookDisabled(disabled) => {
                let by_hand = disabled.by == DisabledBy::Hand;
                ("webhook.disabled", disabled.webhook_id, by_hand)
            }
            E::WebhookRewound(rewound) => ("webhook.rewound", rewound.webhook_id, true),
            E::WebhookDeleted(deleted) => ("webhook.deleted", deleted.webhook_id, true),
            E::DeliveryGivenUp(given_up) => ("webhook.given_up", given_up.webhook_id, false),
        };
        let draft = self.add(at, action, "webhook", &id.to_string());
        if by_hand {
            draft.commanded();
        }
        match event {
            E::WebhookCreated(WebhookCreated { spec, .. })
            | E::WebhookUpdated(WebhookUpdated { spec, .. }) => draft.with(text::json(spec)),
            E::WebhookRotated(rotated) => {
                draft.with(json!({ "previous_until": rotated.previous_until }))
            }
            E::WebhookDisabled(disabled) => draft
                .because(disabled.reason.as_deref())
                .with(json!({ "by": disabled.by })),
            E::WebhookRewound(rewound) => draft.with(json!({ "from_seq": rewound.from_seq })),
            E::DeliveryGivenUp(given_up) => draft.because(Some(&given_up.reason)).with(json!({
                "seq": given_up.seq,
                "index": given_up.index,
                "attempts": given_up.attempts,
            })),
            E::WebhookEnabled(_) | E::WebhookDeleted(_) => draft,
        };
    }

    pub(crate) fn access(&mut self, at: &At<'_>, event: &AccessEvent) {
        match event {
            AccessEvent::AccessDenied(denied) => {
                self.add(at, "access.denied", "route", &denied.route)
                    .or_by(ANONYMOUS)
                    .from(&denied.source)
                    .because(Some(&denied.reason))
                    .with(json!({
                        "method": denied.method,
                        "status": denied.status,
                        "code": denied.code,
                        "claimed_tenant": denied.claimed_tenant,
                    }));
            }
            AccessEvent::DenialsCounted(counted) => {
                self.add(at, "access.denials_counted", "route", "*")
                    .or_by(ANONYMOUS)
                    .from(&counted.source)
                    .because(Some(
                        "more requests were refused than are recorded one by one",
                    ))
                    .with(json!({
                        "count": counted.count,
                        "since": counted.since,
                        "until": counted.until,
                    }));
            }
        }
    }

    fn limits(&mut self, at: &At<'_>, set: &LimitsSet) {
        let (kind, id) = text::scope_key(&set.scope);
        let row = self.add(at, "budget.limits_set", "budget", &scope_name(kind, &id));
        row.with(json!({
            "scope": set.scope,
            "window": set.window,
            "limits": set.limits,
            "previous": set.previous,
        }));
        if let Some(by) = &set.by {
            row.by(by);
        }
        // A run brings its own limits to its first reservation.
        if let Scope::Run(run) = &set.scope {
            row.for_run(*run);
        }
    }

    /// What a command did to a run.
    fn steered(&mut self, at: &At<'_>, run: RunId, action: &'static str, why: &Option<String>) {
        self.about_run(at, run, action)
            .commanded()
            .because(why.as_deref());
    }

    fn about_run(&mut self, at: &At<'_>, run: RunId, action: &'static str) -> &mut Draft {
        self.add(at, action, "run", &run.to_string()).for_run(run)
    }

    /// A question to people, and what became of it.
    fn about_approval(
        &mut self,
        at: &At<'_>,
        run: RunId,
        action: &'static str,
        id: ApprovalId,
        event: &impl Serialize,
    ) -> &mut Draft {
        let mut details = text::json(event);
        details["run_id"] = text::json(&run);
        let draft = self.add(at, action, "approval", &id.to_string());
        draft.with(details)
    }

    fn add(
        &mut self,
        at: &At<'_>,
        action: &'static str,
        resource_type: &'static str,
        resource_id: &str,
    ) -> &mut Draft {
        self.drafts
            .push(Draft::new(at, action, resource_type, resource_id));
        let last = self.drafts.len() - 1;
        &mut self.drafts[last]
    }

    /// Runs must be written before: where nobody acted, a step was taken for whoever started the run.
    pub(crate) async fn write(
        &self,
        chains: &mut Chains,
        db: &mut PgConnection,
    ) -> sqlx::Result<()> {
        if self.drafts.is_empty() {
            return Ok(());
        }
        let rows = chains.link(db, &self.drafts, &self.owners).await?;
        if rows.is_empty() {
            return Ok(());
        }
        insert(db, &rows).await?;
        chains.write(db, &rows).await
    }
}

async fn insert(db: &mut PgConnection, rows: &[AuditRow]) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO audit_logs (tenant, id, user_id, action, resource_type, resource_id, reason,
             details, ip_address, user_agent, created_at, seq, number, prev_hash, hash)
         SELECT u.tenant, u.id, u.user_id, u.action, u.resource_type, u.resource_id, u.reason,
             u.details, u.ip_address::inet, u.user_agent, u.created_at, u.seq, u.number,
             u.prev_hash, u.hash
         FROM UNNEST($1::text[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[],
             $7::text[], $8::jsonb[], $9::text[], $10::text[], $11::timestamptz[], $12::int8[],
             $13::int8[], $14::bytea[], $15::bytea[])
           AS u(tenant, id, user_id, action, resource_type, resource_id, reason, details,
             ip_address, user_agent, created_at, seq, number, prev_hash, hash)
         ON CONFLICT (tenant, id) DO NOTHING",
        col(rows, |row| row.tenant.as_str()) as _,
        &col(rows, |row| row.id),
        col(rows, |row| row.user_id.as_str()) as _,
        col(rows, |row| row.action.as_str()) as _,
        col(rows, |row| row.resource_type.as_str()) as _,
        col(rows, |row| row.resource_id.as_deref()) as _,
        col(rows, |row| row.reason.as_deref()) as _,
        &col(rows, |row| row.details.clone()),
        col(rows, |row| row
            .ip_address
            .map(|address| address.to_string())) as _,
        col(rows, |row| row.user_agent.as_deref()) as _,
        &col(rows, |row| row.created_at.to_datetime()),
        &col(rows, |row| text::seq(row.seq)),
        &col(rows, |row| text::seq(row.number)),
        &col(rows, |row| row.prev_hash.to_vec()),
        &col(rows, |row| row.hash.to_vec()),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A budget's name: `<kind>:<id>`, or `tenant`.
fn scope_name(kind: &str, id: &str) -> String {
    if id.is_empty() {
        kind.to_owned()
    } else {
        format!("{kind}:{id}")
    }
}

fn why(decided: &PolicyDecided) -> String {
    match (&decided.error, decided.reasons.is_empty()) {
        (Some(error), true) => error.clone(),
        _ => decided.reasons.join("; "),
    }
}

fn too_little(refused: &ReservationRefused) -> String {
    let (kind, id) = text::scope_key(&refused.scope);
    format!(
        "{}: {} {} needed, limit {}, spent {}, reserved {}",
        scope_name(kind, &id),
        refused.needed,
        refused.unit.as_str(),
        refused.limit,
        refused.spent,
        refused.reserved
    )
}

fn judgement(decided: &PolicyDecided) -> Value {
    let (turn, call_id) = match &decided.point {
        PolicyPoint::RunStart => (None, None),
        PolicyPoint::LlmCall { turn } => (Some(turn), None),
        PolicyPoint::ToolCall { turn, call_id } => (Some(turn), Some(call_id)),
    };
    let mut details = json!({
        "point": decided.point.name(),
        "turn": turn,
        "call_id": call_id,
        "reasons": decided.reasons,
        "rules": decided.rules,
        "bundle": decided.bundle,
        "duration_us": decided.duration_us,
        "error": decided.error,
    });
    // What most judgements do not say is not said of them: entries are never written otherwise.
    if let Some(approval) = &decided.approval {
        details["approval"] = text::json(approval);
    }
    if let Some(void) = &decided.void {
        details["void"] = text::json(void);
    }
    if !decided.obligations.is_empty() {
        details["obligations"] = text::json(&decided.obligations);
    }
    details
}

#[cfg(test)]
mod tests {
    #![expect(clippy::panic, reason = "a test may fail")]

    use nexus_events::access::{AccessDenied, DenialsCounted};
    use nexus_events::ledger::{Limits, Refusal, ReservationRefused, Shortage, Unit, Window};
    use nexus_events::run::RunCancelled;
    use nexus_events::session::SessionClosed;
    use nexus_events::{Actor, ReservationId, Source};
    use uuid::Uuid;

    use super::*;
    use crate::audit::AuditHash;
    use crate::fold::testing::{RUN, answered, at, decided, started};

    fn root() -> Actor {
        Actor {
            user: "root".into(),
            roles: vec![],
            source: Some(Box::new(Source::new(
                "203.0.113.7".parse().ok(),
                Some("cli/1"),
            ))),
            ..Actor::default()
        }
    }

    fn set(scope: Scope, by: Option<Actor>) -> LedgerEvent {
        let limits = Limits::default();
        let tokens = Some(7);
        LimitsSet {
            scope,
            window: Window::Day,
            limits,
            on_exhausted: Default::default(),
            thresholds: Default::default(),
            brought_by: None,
            previous: Some(Limits { tokens, ..limits }),
            by,
        }
        .into()
    }

    #[test]
    fn a_refusal_by_a_person_is_an_entry_and_one_by_a_limit_is_not() {
        let mut audit = AuditLogs::default();
        let shortage = Shortage {
            scope: Scope::Tenant,
            window: Window::Month,
            unit: Unit::Tokens,
            limit: 10,
            spent: 10,
            reserved: 0,
            needed: 1,
            on_exhausted: Default::default(),
        };
        let refused = |by| -> LedgerEvent {
            ReservationRefused {
                reservation_id: ReservationId::derive(&["waits"]),
                run_id: Some(RUN),
                refusal: Refusal {
                    reason: Some("not this month".into()),
                    ..shortage.clone().into()
                },
                by,
            }
            .into()
        };
        audit.ledger(&at(1), &refused(None));
        audit.ledger(&at(2), &refused(Some(root())));
        let [entry] = audit.drafts.as_slice() else {
            panic!("{audit:?}")
        };
        assert_eq!(
            (entry.action, entry.user.as_deref(), entry.run),
            ("budget.wait_refused", Some("root"), Some(RUN))
        );
        assert_eq!(entry.reason.as_deref(), Some("not this month"));
    }

    #[test]
    fn an_entry_says_who_what_from_where_and_why() {
        let mut audit = AuditLogs::default();
        let root = root();
        let denied = decided(PolicyPoint::LlmCall { turn: 3 }, false);
        audit.run(&at(1), RUN, &denied.into());
        let by_root = At {
            actor: Some(&root),
            position: 1,
            ..at(1)
        };
        let reason = Some("late".to_owned());
        audit.run(&by_root, RUN, &RunCancelled { reason }.into());
        // Many commands, one commit: its actor is nobody, the event knows better.
        audit.ledger(&at(2), &set(Scope::User("ada".into()), Some(root.clone())));
        audit.run(&at(3), RUN, &answered(1, &[]).into());
        let [denied, cancelled, limited] = audit.drafts.as_slice() else {
            panic!("{audit:?}")
        };
        assert_eq!(
            (denied.action, denied.user.as_deref(), denied.run),
            ("policy.denied", None, Some(RUN))
        );
        assert_eq!(denied.details["turn"], 3);
        assert_eq!(denied.details["reasons"], json!(["so", "it is"]));
        assert_eq!(denied.reason.as_deref(), Some("so; it is"));
        assert_eq!(
            (cancelled.user.as_deref(), cancelled.reason.as_deref()),
            (Some("root"), Some("late"))
        );
        assert_eq!(
            (limited.resource_type, limited.resource_id.as_str()),
            ("budget", "user:ada")
        );
        assert_eq!(limited.details["previous"]["tokens"], 7);
        assert_eq!(limited.details.get("by"), None);
        for draft in [cancelled, limited] {
            let row = draft.finish(None, (1, AuditHash::ZERO));
            assert_eq!(row.ip_address, "203.0.113.7".parse().ok());
            assert_eq!(row.user_agent.as_deref(), Some("cli/1"));
        }
    }

    #[test]
    fn whoever_named_nobody_has_a_name_in_the_audit() {
        let mut audit = AuditLogs::default();
        let nobody = Actor::default();
        let at = At {
            actor: Some(&nobody),
            ..at(1)
        };
        audit.run(&at, RUN, &started(SessionId::new(Uuid::nil())).into());
        audit.run(&at, RUN, &RunCancelled { reason: None }.into());
        audit.session(&at, SessionId::new(Uuid::nil()), &SessionClosed {}.into());
        audit.ledger(&at, &set(Scope::Run(RUN), None));
        audit.ledger(&at, &set(Scope::Tenant, None));
        let users: Vec<_> = (audit.drafts.iter())
            .map(|draft| (draft.user.as_deref(), draft.run.is_some()))
            .collect();
        let expected = [
            (Some("ada"), true),
            (Some("bus"), true),
            (Some("bus"), false),
            (None, true),
            (None, false),
        ];
        assert_eq!(users, expected);
    }

    #[test]
    fn a_refused_request_is_an_entry() {
        let mut audit = AuditLogs::default();
        let source = Source::new("::1".parse().ok(), Some("x\0y"));
        let denied = AccessDenied {
            route: "/v1/runs".into(),
            method: "POST".into(),
            status: 403,
            code: "origin_refused".into(),
            reason: "a page of another origin may not act here".into(),
            claimed_tenant: None,
            source: source.clone(),
        };
        audit.access(&at(1), &denied.into());
        let counted = DenialsCounted {
            count: 9,
            since: at(1).time,
            until: at(2).time,
            source,
        };
        let root = root();
        let known = At {
            actor: Some(&root),
            ..at(2)
        };
        audit.access(&known, &counted.into());
        let [denied, counted] = audit.drafts.as_slice() else {
            panic!("{audit:?}")
        };
        assert_eq!(
            (
                denied.action,
                denied.resource_id.as_str(),
                denied.user.as_deref()
            ),
            ("access.denied", "/v1/runs", Some("anonymous"))
        );
        assert_eq!(denied.details["code"], "origin_refused");
        assert_eq!(
            (counted.user.as_deref(), &counted.details["count"]),
            (Some("root"), &json!(9))
        );
    }
}

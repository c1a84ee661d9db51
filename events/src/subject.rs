//! Every subject of the bus, built and read in one place. Tenant first, so that a NATS account can
//! be granted `nexus.<tenant>.>` and nothing else; no event type, as a subject per type makes
//! reading an aggregate back a hundred times slower.

use crate::aggregate::AggregateKind;
use crate::ids::{AggregateId, RunId, Tenant, WebhookId};

/// Everything that belongs to commands, of all tenants.
pub const ALL_COMMANDS: &str = "nexus.*.cmd.>";
/// Every commit of every tenant.
pub const ALL_EVENTS: &str = "nexus.*.evt.>";
/// Every dead letter.
pub const ALL_DEAD_LETTERS: &str = "nexus.*.dlq.>";
/// Every chunk of every stored body.
pub const ALL_OBJECTS: &str = "nexus.*.obj.>";
/// Everything that belongs to snapshots of aggregates.
pub const ALL_SNAPSHOTS: &str = "nexus.*.snap.>";
/// Every answer that may be given again.
pub const ALL_ANSWERS: &str = "nexus.*.ans.>";
/// Every counter that gateways share.
pub const ALL_QUOTAS: &str = "nexus.*.quota.>";
/// How far each webhook has come, and who delivers.
pub const ALL_WEBHOOKS: &str = "nexus.*.hook.>";
/// Who delivers: every process of the role, as it last said that it lives.
pub const ALL_WEBHOOK_WORKERS: &str = "nexus.nexus-installation.hook.worker.*";
/// What the server republishes each accepted commit to, in its mapping language.
pub const LOG_MAPPING: &str = "nexus.{{wildcard(1)}}.log.>";
/// Scheduled messages and what they become when due.
pub const ALL_TIMERS: &str = "nexus.*.tmr.>";

/// Where a command is published: `nexus.<tenant>.cmd.<role>.<verb>`.
pub fn command(tenant: &Tenant, role: &str, verb: &str) -> String {
    format!("nexus.{tenant}.cmd.{role}.{verb}")
}

/// What a role's consumer takes: every verb under a first token, of every tenant.
pub fn commands_of(role: &str) -> String {
    format!("nexus.*.cmd.{role}.>")
}

/// Where an aggregate's commits are stored.
pub fn events(tenant: &Tenant, kind: AggregateKind, id: &AggregateId) -> String {
    format!("nexus.{tenant}.evt.{}.{id}", kind.as_str())
}

/// Where the commits of all runs of a tenant are stored.
pub fn events_of_runs(tenant: &Tenant) -> String {
    format!("nexus.{tenant}.evt.run.*")
}

/// Where accepted commits of an aggregate are republished.
pub fn log(tenant: &Tenant, kind: AggregateKind, id: &AggregateId) -> String {
    format!("nexus.{tenant}.log.{}.{id}", kind.as_str())
}

/// Every accepted commit of one kind of aggregate, of every tenant.
pub fn log_of_kind(kind: AggregateKind) -> String {
    format!("nexus.*.log.{}.*", kind.as_str())
}

/// Everything that is stored of a tenant's.
pub fn events_of_tenant(tenant: &Tenant) -> String {
    format!("nexus.{tenant}.evt.>")
}

/// Every accepted commit of a tenant.
pub fn log_of_tenant(tenant: &Tenant) -> String {
    format!("nexus.{tenant}.log.>")
}

/// Where a commit is stored that was republished; none for another subject.
pub fn stored_of_log(log: &str) -> Option<String> {
    let mut tokens = log.splitn(4, '.');
    match (
        tokens.next()?,
        tokens.next()?,
        tokens.next()?,
        tokens.next()?,
    ) {
        ("nexus", tenant, "log", rest) => Some(format!("nexus.{tenant}.evt.{rest}")),
        _ => None,
    }
}

/// What a stored commit is of: `run/<id>`; none for another subject.
pub fn aggregate_of(stored: &str) -> Option<String> {
    let mut tokens = stored.splitn(5, '.').skip(2);
    match (tokens.next()?, tokens.next()?, tokens.next()?) {
        ("evt", kind, id) => Some(format!("{kind}/{id}")),
        _ => None,
    }
}

/// Everything that a tenant hears while it happens.
pub fn live_of(tenant: &Tenant) -> String {
    format!("nexus.{tenant}.live.>")
}

/// Every chunk of a tenant's stored bodies.
pub fn objects_of(tenant: &Tenant) -> String {
    format!("nexus.{tenant}.obj.>")
}

/// Where a tenant's workers are called, and hear of calls that are over.
pub fn tools_of(tenant: &Tenant) -> String {
    format!("nexus.{tenant}.tool.>")
}

/// The ledgers of all tenants: each that has ever done anything has one.
pub const ALL_LEDGERS: &str = "nexus.*.evt.ledger.*";

/// Token deltas and progress of a run, for whoever listens now.
pub fn live_run(tenant: &Tenant, run: RunId) -> String {
    format!("nexus.{tenant}.live.run.{run}")
}

/// Where a role's dead letters go. The tenant is as the command's subject had it: one that is not
/// valid has no other name.
pub fn dead_letter(tenant: &str, role: &str) -> String {
    format!("nexus.{tenant}.dlq.{role}")
}

/// Every dead letter of a tenant.
pub fn dead_letters_of(tenant: &Tenant) -> String {
    format!("nexus.{tenant}.dlq.>")
}

/// Accepted commits of all runs of a tenant.
pub fn log_of_runs(tenant: &Tenant) -> String {
    format!("nexus.{tenant}.log.run.*")
}

/// Live fragments of all runs of a tenant.
pub fn live_of_runs(tenant: &Tenant) -> String {
    format!("nexus.{tenant}.live.run.*")
}

/// One chunk of a stored body.
pub fn object_chunk(tenant: &Tenant, digest: &str, index: u32) -> String {
    format!("nexus.{tenant}.obj.{digest}.{index}")
}

/// All chunks of a stored body.
pub fn object_chunks(tenant: &Tenant, digest: &str) -> String {
    format!("nexus.{tenant}.obj.{digest}.*")
}

/// An answer that may be given again, by the digest of what was asked.
pub fn answer(tenant: &Tenant, digest: &str) -> String {
    format!("nexus.{tenant}.ans.{digest}")
}

/// What says of a snapshot's slot what it holds: of two slots, one is written while the other is
/// whole.
pub fn snapshot_head(tenant: &Tenant, kind: AggregateKind, id: &AggregateId, slot: u8) -> String {
    format!("nexus.{tenant}.snap.{}.{id}.head.{slot}", kind.as_str())
}

/// One chunk of a slot.
pub fn snapshot_part(
    tenant: &Tenant,
    kind: AggregateKind,
    id: &AggregateId,
    slot: u8,
    index: u32,
) -> String {
    format!(
        "nexus.{tenant}.snap.{}.{id}.part.{slot}.{index}",
        kind.as_str()
    )
}

/// All chunks of a slot.
pub fn snapshot_parts(tenant: &Tenant, kind: AggregateKind, id: &AggregateId, slot: u8) -> String {
    format!("nexus.{tenant}.snap.{}.{id}.part.{slot}.*", kind.as_str())
}

/// Where gateways count together what a limit of a tenant's is used for; `name` is a digest.
pub fn quota(tenant: &Tenant, kind: &str, name: &str) -> String {
    format!("nexus.{tenant}.quota.{kind}.{name}")
}

/// How far a webhook has come.
pub fn webhook_progress(tenant: &Tenant, webhook: WebhookId) -> String {
    format!("nexus.{tenant}.hook.progress.{webhook}")
}

/// Where a process that delivers says that it lives.
pub fn webhook_worker(worker: uuid::Uuid) -> String {
    format!("nexus.{}.hook.worker.{worker}", Tenant::installation())
}

/// Commits of one kind of aggregate, of all tenants, as they are stored.
pub fn events_of_kind(kind: AggregateKind) -> String {
    format!("nexus.*.evt.{}.*", kind.as_str())
}

/// Where a tool of kind `nats` is called: its workers answer there.
pub fn tool(tenant: &Tenant, name: &str) -> String {
    format!("nexus.{tenant}.tool.{name}")
}

/// Where workers of a tool hear that nobody waits for a call any more.
pub fn tool_cancel(tenant: &Tenant, name: &str) -> String {
    format!("nexus.{tenant}.tool.{name}.cancel")
}

/// What a tenant's own reply subjects begin with.
pub fn reply_prefix(tenant: &Tenant) -> String {
    format!("nexus.{tenant}.reply.")
}

/// Where a timer waits.
pub fn timer_schedule(tenant: &Tenant, name: &str) -> String {
    format!("nexus.{tenant}.tmr.at.{name}")
}

/// What a timer becomes when it is due; relayed to the command subject of the same role and verb.
pub fn timer_due(tenant: &Tenant, role: &str, verb: &str) -> String {
    format!("nexus.{tenant}.tmr.due.{role}.{verb}")
}

/// All due timers.
pub const ALL_TIMERS_DUE: &str = "nexus.*.tmr.due.>";

/// The parts of a command's subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSubject {
    /// Whose command.
    pub tenant: Tenant,
    /// First token after `cmd`, such as `run`.
    pub role: String,
    /// The rest, such as `start`.
    pub verb: String,
}

/// Reads `nexus.<tenant>.cmd.<role>.<verb>`.
pub fn parse_command(subject: &str) -> Option<CommandSubject> {
    let (tenant, rest) = split(subject, "cmd")?;
    let (role, verb) = rest.split_once('.')?;
    Some(CommandSubject {
        tenant,
        role: role.into(),
        verb: verb.into(),
    })
}

/// Reads `nexus.<tenant>.tmr.due.<role>.<verb>`.
pub fn parse_timer_due(subject: &str) -> Option<CommandSubject> {
    let (tenant, rest) = split(subject, "tmr")?;
    let (role, verb) = rest.strip_prefix("due.")?.split_once('.')?;
    Some(CommandSubject {
        tenant,
        role: role.into(),
        verb: verb.into(),
    })
}

/// Reads `nexus.<tenant>.evt.<aggregate>.<id>`, or its republished `log` form.
pub fn parse_events(subject: &str) -> Option<(Tenant, AggregateKind, AggregateId)> {
    let (tenant, rest) = split(subject, "evt").or_else(|| split(subject, "log"))?;
    let (kind, id) = rest.split_once('.')?;
    Some((
        tenant,
        AggregateKind::parse(kind)?,
        AggregateId::from_token(id),
    ))
}

/// The tenant of any subject of ours, where it is well formed.
pub fn tenant_of(subject: &str) -> Option<Tenant> {
    subject
        .strip_prefix("nexus.")?
        .split('.')
        .next()?
        .parse()
        .ok()
}

fn split<'a>(subject: &'a str, class: &str) -> Option<(Tenant, &'a str)> {
    let (tenant, rest) = subject.strip_prefix("nexus.")?.split_once('.')?;
    let rest = rest.strip_prefix(class)?.strip_prefix('.')?;
    Some((tenant.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[test]
    fn a_republished_commit_is_stored_under_its_own_name() {
        let tenant: Tenant = "acme".parse().unwrap();
        let (kind, id) = (AggregateKind::Session, AggregateId::ONLY);
        let stored = events(&tenant, kind, &id);
        let found = stored_of_log(&log(&tenant, kind, &id));
        assert_eq!(found.as_deref(), Some(stored.as_str()));
        assert_eq!(aggregate_of(&stored), Some(format!("session/{id}")));
        assert_eq!(stored_of_log(&stored), None);
        assert_eq!(aggregate_of("nexus.acme.cmd.run.start"), None);
    }

    #[test]
    fn what_is_built_can_be_read() {
        let tenant: Tenant = "acme".parse().unwrap();
        let id = AggregateId::ONLY;
        let subject = events(&tenant, AggregateKind::Ledger, &id);
        assert_eq!(subject, "nexus.acme.evt.ledger.main");
        assert_eq!(
            parse_events(&subject),
            Some((tenant.clone(), AggregateKind::Ledger, id.clone()))
        );
        assert_eq!(
            parse_events(&log(&tenant, AggregateKind::Ledger, &id)),
            parse_events(&subject)
        );
        let ledger = (&tenant, AggregateKind::Ledger, &AggregateId::ONLY);
        assert_eq!(
            snapshot_head(ledger.0, ledger.1, ledger.2, 0),
            "nexus.acme.snap.ledger.main.head.0"
        );
        assert_eq!(
            snapshot_part(ledger.0, ledger.1, ledger.2, 1, 7),
            snapshot_parts(ledger.0, ledger.1, ledger.2, 1).replace('*', "7")
        );
        let parsed = parse_command(&command(&tenant, "run", "start")).unwrap();
        assert_eq!(
            (parsed.role.as_str(), parsed.verb.as_str()),
            ("run", "start")
        );
        assert_eq!(parse_command("nexus.UPPER.cmd.run.start"), None);
        assert_eq!(parse_command("nexus.acme.evt.run.start"), None);
    }
}

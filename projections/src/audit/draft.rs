//! What the fold of an event says of an entry. Who acted may not be known from the event alone: a
//! step that the platform took by itself was taken for whoever started the run.

use std::net::IpAddr;

use nexus_events::{Actor, RunId, Tenant, Timestamp};
use serde_json::Value;

use super::entry::{AuditHash, AuditRow, VERSION, exact};
use crate::fold::At;
use crate::query::timestamp;
use crate::{ids, text};

/// Longest reason, in characters.
const REASON_CHARS: usize = 2_000;
/// Who acted where nobody did.
const SYSTEM: &str = "system";
/// A client of the bus that named nobody.
const BUS: &str = "bus";

/// An entry that has no place in the chain yet.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) tenant: Tenant,
    pub(crate) seq: u64,
    pub(crate) position: u32,
    pub(crate) user: Option<String>,
    pub(crate) run: Option<RunId>,
    pub(crate) action: &'static str,
    pub(crate) resource_type: &'static str,
    pub(crate) resource_id: String,
    pub(crate) reason: Option<String>,
    pub(crate) details: Value,
    address: Option<IpAddr>,
    user_agent: Option<String>,
    at: Timestamp,
}

impl Draft {
    pub(crate) fn new(
        at: &At<'_>,
        action: &'static str,
        resource_type: &'static str,
        resource_id: &str,
    ) -> Self {
        let mut draft = Self {
            tenant: at.tenant.clone(),
            seq: at.seq,
            position: at.position,
            user: None,
            run: None,
            action,
            resource_type,
            resource_id: text::name(resource_id),
            reason: None,
            details: Value::Object(serde_json::Map::new()),
            address: None,
            user_agent: None,
            at: at.time,
        };
        if let Some(actor) = at.actor {
            draft.by(actor);
        }
        draft
    }

    /// Who did it, and from where as far as that is said.
    pub(crate) fn by(&mut self, actor: &Actor) -> &mut Self {
        if !actor.user.is_empty() {
            self.user = Some(text::name(&actor.user));
        }
        match &actor.source {
            Some(source) => self.from(source),
            None => self,
        }
    }

    /// A name where no actor is known.
    pub(crate) fn or_by(&mut self, user: &str) -> &mut Self {
        self.user.get_or_insert_with(|| text::name(user));
        self
    }

    /// Something that only a command does: whoever named nobody acted as the bus's own user.
    pub(crate) fn commanded(&mut self) -> &mut Self {
        self.or_by(BUS)
    }

    /// From where.
    pub(crate) fn from(&mut self, source: &nexus_events::Source) -> &mut Self {
        self.address = source.address.map(|address| address.to_canonical());
        let agent = source.user_agent.as_deref();
        self.user_agent =
            agent.map(|agent| text::cut(agent, nexus_events::source::USER_AGENT_CHARS));
        self
    }

    /// Done for whoever started the run, where nobody acted.
    pub(crate) fn for_run(&mut self, run: RunId) -> &mut Self {
        self.run = Some(run);
        self
    }

    /// Why.
    pub(crate) fn because(&mut self, reason: Option<&str>) -> &mut Self {
        self.reason = reason
            .filter(|reason| !reason.is_empty())
            .map(|reason| text::cut(reason, REASON_CHARS));
        self
    }

    /// The rest.
    pub(crate) fn with(&mut self, details: Value) -> &mut Self {
        self.details = exact(text::clean(details));
        self
    }

    /// The entry as it is written after the one with this number and hash. Every column holds what
    /// it gives back when it is read.
    pub(crate) fn finish(
        &self,
        owner: Option<&str>,
        (number, prev_hash): (u64, AuditHash),
    ) -> AuditRow {
        let user = self.user.as_deref().or(owner).unwrap_or(SYSTEM);
        let mut row = AuditRow {
            v: VERSION,
            tenant: self.tenant.clone(),
            number,
            seq: self.seq,
            position: self.position,
            id: ids::of_position(self.seq, self.position),
            user_id: user.to_owned(),
            action: self.action.to_owned(),
            resource_type: self.resource_type.to_owned(),
            resource_id: Some(self.resource_id.clone()),
            reason: self.reason.clone(),
            details: self.details.clone(),
            ip_address: self.address,
            user_agent: self.user_agent.clone(),
            created_at: timestamp(text::at(self.at)),
            prev_hash,
            hash: AuditHash::ZERO,
        };
        row.hash = row.hash_after(prev_hash);
        row
    }
}

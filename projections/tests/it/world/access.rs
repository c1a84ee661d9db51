//! Who may call, and who was refused.

use nexus_events::access::{AccessDenied, AccessEvent, DenialsCounted};
use nexus_events::keys::{KeyCreated, KeyEvent, KeyRevoked, KeyRotated};
use nexus_events::{AggregateId, AggregateKind, KeyId, Source, Tenant};
use uuid::Uuid;

use super::World;

impl World {
    /// What a gateway refused.
    pub(super) fn refused(&mut self, tenant: &Tenant) {
        let source = Source::new("2001:db8::1".parse().ok(), Some("probe"));
        let denied = AccessDenied {
            route: "/v1/runs".into(),
            method: "POST".into(),
            status: 403,
            code: "origin_refused".into(),
            reason: "no \0".into(),
            claimed_tenant: Some("acme".into()),
            source: source.clone(),
        };
        let counted = DenialsCounted {
            count: 41,
            since: self.now,
            until: self.now.plus_millis(60_000),
            source,
        };
        let events: Vec<AccessEvent> = vec![denied.into(), counted.into()];
        let gateway = AggregateId::from(Uuid::from_u128(7));
        self.commit(tenant, &gateway, AggregateKind::Access, events, None);
    }

    /// Keys that are made, changed and taken away.
    pub(super) fn keyed(&mut self, tenant: &Tenant) {
        let nth = self.out.len() as u64;
        let key_id = KeyId::derive(&[tenant.as_str(), &(nth / 3).to_string()]);
        let event: KeyEvent = match nth % 3 {
            0 => KeyCreated {
                key_id,
                name: "c\0i".into(),
                user: "robot".into(),
                roles: vec!["user".into()],
                groups: vec![],
                hash: "0".repeat(64),
                expires_at: nth.is_multiple_of(2).then(|| self.now.plus_millis(60_000)),
                requests_per_minute: None,
            }
            .into(),
            1 => KeyRotated {
                key_id,
                hash: "1".repeat(64),
                previous_until: self.now,
            }
            .into(),
            _ => KeyRevoked {
                key_id,
                reason: Some("leaked".into()),
            }
            .into(),
        };
        self.commit(
            tenant,
            &AggregateId::ONLY,
            AggregateKind::Keys,
            vec![event],
            Some("root"),
        );
    }
}

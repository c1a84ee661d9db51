//! What may be used, by whom.

use std::collections::BTreeMap;

use nexus_events::Tenant;
use serde::{Deserialize, Serialize};

/// How often callers may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Credentials that are not good, of one address in a minute, before any other of that address is
    /// refused unseen; those that were good lately pass. Counted by each gateway by itself.
    pub failed_credentials_per_minute: u32,
    /// For every tenant.
    pub requests_per_minute: Rates,
    /// For single tenants, where they say something else.
    pub tenants: BTreeMap<String, Rates>,
}

/// Requests in any 60 seconds, of all gateways together. None where absent or 0: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    /// With one API key; a key may have a limit of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<u32>,
    /// Of one user of a tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
    /// Of a tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<u32>,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            failed_credentials_per_minute: 60,
            requests_per_minute: Rates::default(),
            tenants: BTreeMap::new(),
        }
    }
}

impl LimitsConfig {
    /// What holds for a tenant.
    pub(super) fn of(&self, tenant: &Tenant) -> Rates {
        let all = self.requests_per_minute;
        let own = self.tenants.get(tenant.as_str()).copied();
        let own = own.unwrap_or_default();
        let limit = |own: Option<u32>, all: Option<u32>| own.or(all).filter(|limit| *limit > 0);
        Rates {
            key: limit(own.key, all.key),
            user: limit(own.user, all.user),
            tenant: limit(own.tenant, all.tenant),
        }
    }

    /// The first name that is none of a tenant.
    pub(crate) fn wrong_name(&self) -> Option<&str> {
        let names = self.tenants.keys().map(String::as_str);
        names
            .into_iter()
            .find(|name| name.parse::<Tenant>().is_err())
    }
}

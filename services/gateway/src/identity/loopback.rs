//! Who calls where nobody shows a credential, or the installation's root key. Everybody who reaches
//! the loopback is the configured user of the configured tenant, and may say with `Nexus-Tenant`,
//! `Nexus-User`, `Nexus-Roles` and `Nexus-Groups` to be another. Elsewhere these headers are refused
//! instead of ignored: whoever relies on them should learn that they do not hold there.

use axum::http::HeaderMap;
use nexus_events::{Actor, Problem, Tenant};

use super::Caller;
use crate::http::ApiError;

/// Header that names the tenant.
pub(crate) const TENANT_HEADER: &str = "Nexus-Tenant";
/// Header that names the user.
pub(crate) const USER_HEADER: &str = "Nexus-User";
/// Header that names the user's roles, separated by commas.
pub(crate) const ROLES_HEADER: &str = "Nexus-Roles";
/// Header that names the user's groups, separated by commas.
pub(crate) const GROUPS_HEADER: &str = "Nexus-Groups";

const HEADERS: [&str; 4] = [TENANT_HEADER, USER_HEADER, ROLES_HEADER, GROUPS_HEADER];
/// Whoever shows the root key and names nobody.
const ROOT: &str = "root";
const MOST_USER_BYTES: usize = 255;
/// Roles, or groups.
const MOST_NAMES: usize = 16;
const MOST_NAME_BYTES: usize = 64;

/// Who calls without saying who.
#[derive(Clone, Debug)]
pub(super) struct Defaults {
    pub(super) tenant: Tenant,
    pub(super) user: String,
}

impl Defaults {
    /// Somebody without a credential, where none is needed.
    pub(super) fn local(&self, headers: &HeaderMap, loopback: bool) -> Result<Caller, ApiError> {
        if !loopback {
            refuse_names(headers)?;
        }
        self.named(headers, &self.user, &[])
    }

    /// Whoever has the installation's root key may act for every tenant.
    pub(super) fn root(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        self.named(headers, ROOT, &["admin"])
    }

    fn named(&self, headers: &HeaderMap, user: &str, roles: &[&str]) -> Result<Caller, ApiError> {
        let tenant = match text(headers, TENANT_HEADER)? {
            Some(name) => name
                .parse()
                .map_err(|error| invalid(TENANT_HEADER, &error))?,
            None => self.tenant.clone(),
        };
        let user = match text(headers, USER_HEADER)? {
            Some(name) if (1..=MOST_USER_BYTES).contains(&name.len()) => name,
            Some(_) => return Err(invalid(USER_HEADER, &"it must have 1 to 255 bytes")),
            None => user,
        };
        let names = |header| match text(headers, header)? {
            Some(text) => names_of(text, header).map(Some),
            None => Ok(None),
        };
        let or = |roles: &[&str]| roles.iter().map(|&role| role.to_owned()).collect();
        Ok(Caller {
            key: None,
            tenant,
            actor: Actor {
                user: user.to_owned(),
                roles: names(ROLES_HEADER)?.unwrap_or_else(|| or(roles)),
                groups: names(GROUPS_HEADER)?.unwrap_or_default(),
                key: None,
                source: None,
            },
            is_local: true,
        })
    }
}

/// Refuses whoever names somebody where the name would not count.
pub(super) fn refuse_names(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(name) = HEADERS.into_iter().find(|name| headers.contains_key(*name)) else {
        return Ok(());
    };
    let detail = format!(
        "{name} is honoured only where the gateway listens on the loopback and no key is shown"
    );
    Err(Problem::new(403, "identity_refused", detail)
        .at(name)
        .into())
}

/// Visible ASCII: what goes on into headers of the bus.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ApiError> {
    let value = headers.get(name).map(|value| value.to_str());
    value
        .transpose()
        .map_err(|_| invalid(name, &"it must be visible ASCII"))
}

fn names_of(text: &str, header: &str) -> Result<Vec<String>, ApiError> {
    let mut names = vec![];
    for name in text.split(',').map(str::trim) {
        if !(1..=MOST_NAME_BYTES).contains(&name.len()) || names.len() == MOST_NAMES {
            let reason = format!(
                "it must have 1 to {MOST_NAMES} names of 1 to {MOST_NAME_BYTES} bytes, separated \
                 by commas"
            );
            return Err(invalid(header, &reason));
        }
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn invalid(header: &str, reason: &dyn std::fmt::Display) -> ApiError {
    Problem::new(400, "invalid", format!("{header}: {reason}"))
        .at(header)
        .into()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    fn defaults() -> Defaults {
        Defaults {
            tenant: "acme".parse().unwrap(),
            user: "local".into(),
        }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn headers_choose_on_the_loopback_only() {
        let named = headers(&[("nexus-tenant", "other"), ("nexus-user", "ada")]);
        let caller = defaults().local(&named, true).unwrap();
        assert_eq!(
            (caller.tenant.as_str(), caller.actor.user.as_str()),
            ("other", "ada")
        );
        let caller = defaults().local(&HeaderMap::new(), true).unwrap();
        assert_eq!(
            (caller.tenant.as_str(), caller.actor.user.as_str()),
            ("acme", "local")
        );
        let refused = defaults().local(&named, false).unwrap_err();
        assert_eq!(refused.code(), "identity_refused");
        for bad in [
            ("nexus-tenant", "A.b"),
            ("nexus-tenant", ""),
            ("nexus-user", ""),
        ] {
            assert!(defaults().local(&headers(&[bad]), true).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn roles_and_groups_are_few() {
        let named = |roles: &str| headers(&[("nexus-roles", roles), ("nexus-groups", "a, b")]);
        let here = defaults();
        let caller = here.local(&named("admin, boss,admin"), true).unwrap();
        assert_eq!(caller.actor.roles, ["admin", "boss"]);
        assert_eq!(caller.actor.groups, ["a", "b"]);
        let nobody = here.local(&HeaderMap::new(), true).unwrap();
        assert!(nobody.actor.roles.is_empty());
        let many: Vec<String> = (0..17).map(|n| format!("r{n}")).collect();
        for bad in ["", "a,,b", &many.join(","), &"x".repeat(65)] {
            assert!(here.local(&named(bad), true).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn root_acts_for_every_tenant() {
        let caller = defaults()
            .root(&headers(&[("nexus-tenant", "other")]))
            .unwrap();
        assert_eq!(caller.tenant.as_str(), "other");
        assert_eq!(
            (caller.actor.user.as_str(), caller.actor.roles),
            ("root", vec!["admin".to_owned()])
        );
    }
}

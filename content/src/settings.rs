//! What an installation says of its filter, for all tenants and for each, and what that comes to.

use std::collections::BTreeMap;
use std::sync::Arc;

use nexus_events::content::{Action, Class, ContentDuty};
use serde::Deserialize;

use crate::deny::{Deny, DenyEntry, DenyError};
use crate::side::Side;

/// What is done with a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// It is not looked for.
    Off,
    /// It is recorded that it was there.
    Mark,
    /// It is left out.
    Redact,
    /// The call is not made, or its answer is dropped.
    Refuse,
}

/// The filter of an installation.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilterConfig {
    /// With what goes to the model.
    pub input: BTreeMap<Class, Setting>,
    /// With what comes from it.
    pub output: BTreeMap<Class, Setting>,
    /// Words and patterns of the class `denied`.
    pub deny: Vec<DenyEntry>,
    /// What is otherwise for a tenant.
    pub tenants: BTreeMap<String, TenantFilter>,
}

/// What is otherwise for a tenant: a class that it names is set anew, its list comes beside the
/// installation's.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantFilter {
    /// With what goes to the model.
    pub input: BTreeMap<Class, Setting>,
    /// With what comes from it.
    pub output: BTreeMap<Class, Setting>,
    /// More words and patterns.
    pub deny: Vec<DenyEntry>,
}

/// A list of the configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{place}.deny cannot be used: {source}")]
pub struct FilterError {
    /// Where it is.
    pub place: String,
    /// Why.
    #[source]
    pub source: DenyError,
}

/// What is done in both directions.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// With what goes to the model.
    pub input: Side,
    /// With what comes from it.
    pub output: Side,
}

impl Rules {
    /// The stricter one of these and of what policy wants.
    #[must_use]
    pub fn and(self, duty: &ContentDuty) -> Self {
        let wanted = |side: &BTreeMap<Class, Action>| {
            let pairs = side.iter().map(|(class, action)| (*class, *action));
            pairs.collect::<Vec<_>>()
        };
        Self {
            input: self.input.and(wanted(&duty.input)),
            output: self.output.and(wanted(&duty.output)),
        }
    }
}

/// The rules of every tenant; by default nothing is looked for.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    usual: Rules,
    tenants: BTreeMap<String, Rules>,
}

impl Filters {
    /// Compiles a configuration. One that says nothing marks secrets in what models write.
    ///
    /// # Errors
    /// [`FilterError`]: a list that cannot be used.
    pub fn new(config: &FilterConfig) -> Result<Self, FilterError> {
        let place = "models.filter".to_owned();
        let usual = rules(config, None).map_err(|source| FilterError { place, source })?;
        let mut tenants = BTreeMap::new();
        for (name, tenant) in &config.tenants {
            let rules = rules(config, Some(tenant)).map_err(|source| FilterError {
                place: format!("models.filter.tenants.{name}"),
                source,
            })?;
            tenants.insert(name.clone(), rules);
        }
        Ok(Self { usual, tenants })
    }

    /// Those of a tenant.
    pub fn of(&self, tenant: &str) -> &Rules {
        self.tenants.get(tenant).unwrap_or(&self.usual)
    }
}

fn rules(config: &FilterConfig, tenant: Option<&TenantFilter>) -> Result<Rules, DenyError> {
    let own = tenant.map_or(&[][..], |tenant| &tenant.deny);
    let deny = Deny::new(&[&config.deny, own].concat())?.map(Arc::new);
    let side = |usual: &BTreeMap<Class, Setting>, own: Option<&BTreeMap<Class, Setting>>, base| {
        let actions = Class::ALL.map(|class| {
            let set = own.and_then(|own| own.get(&class)).or(usual.get(&class));
            match set {
                Some(Setting::Off) => None,
                Some(Setting::Mark) => Some(Action::Mark),
                Some(Setting::Redact) => Some(Action::Redact),
                Some(Setting::Refuse) => Some(Action::Refuse),
                // A list is there to be used.
                None if class == Class::Denied => Some(Action::Redact),
                None if class == Class::Secret => base,
                None => None,
            }
        });
        Side::new(actions, deny.clone())
    };
    Ok(Rules {
        input: side(&config.input, tenant.map(|tenant| &tenant.input), None),
        output: side(
            &config.output,
            tenant.map(|tenant| &tenant.output),
            Some(Action::Mark),
        ),
    })
}

//! Reads what the rules say.
//!
//! One shape for both forms of policy: whether it allows, why not, what must be approved and what
//! must be kept to. Whatever does not fit is an error, never a guess: a key that is misspelt would
//! otherwise drop a restriction.

use regorus::Value;
use serde::Deserialize;
use serde_json::Value as Json;

use super::decision::{ApprovalRequirement, Effect, Obligations};
use super::error::DecisionError;
use super::limits::{MAX_ITEM_CHARS, MAX_ITEMS};
use super::value::{to_json, type_name};

/// Approvers that one requirement may name.
const MAX_APPROVERS: u32 = 16;
/// An approval that takes longer than 90 days is none.
const MAX_EXPIRES_SECONDS: u64 = 90 * 24 * 3600;

/// What the rules say, before it is known whether an approval has been given.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) allow: bool,
    pub(crate) denied: bool,
    pub(crate) reasons: Vec<String>,
    pub(crate) rules: Vec<String>,
    pub(crate) require_approval: Option<ApprovalRequirement>,
    pub(crate) obligations: Obligations,
}

impl Verdict {
    /// A denial stands above all; then what needs an approval that has not been given; and only
    /// what is allowed is allowed.
    pub(crate) fn effect(&self, approved: bool) -> Effect {
        match &self.require_approval {
            _ if self.denied => Effect::Deny,
            Some(requirement) if !approved => Effect::RequireApproval(requirement.clone()),
            _ if self.allow => Effect::Allow,
            _ => Effect::Deny,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    allow: bool,
    #[serde(default)]
    reasons: OneOrMany,
    #[serde(default)]
    reason: OneOrMany,
    #[serde(default)]
    rules: OneOrMany,
    #[serde(default)]
    rule: OneOrMany,
    #[serde(default)]
    require_approval: Json,
    #[serde(default)]
    obligations: Json,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    Many(Vec<String>),
    One(String),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::Many(items) => items,
            Self::One(item) => vec![item],
        }
    }
}

/// Reads a decision object.
pub(crate) fn from_object(value: &Value, rule: &str) -> Result<Verdict, DecisionError> {
    match value {
        Value::Undefined => return Err(undefined(rule)),
        Value::Object(_) => {}
        other => return Err(malformed(rule, format!("it is {}", type_name(other)))),
    }
    if let Some(allow) = value.as_object().ok().and_then(|o| o.get(&"allow".into()))
        && !matches!(allow, Value::Bool(_))
    {
        return Err(not_boolean(&format!("{rule}.allow"), allow));
    }
    let object: Object = read(to_json(value, rule)?, rule)?;
    let both = |one: OneOrMany, many: OneOrMany| {
        let mut items = many.into_vec();
        items.extend(one.into_vec());
        bounded(items)
    };
    let reasons = both(object.reason, object.reasons);
    Ok(Verdict {
        allow: object.allow,
        denied: false,
        reasons,
        rules: both(object.rule, object.rules),
        require_approval: requirement(object.require_approval, rule)?,
        obligations: obligations(object.obligations, rule)?,
    })
}

/// Reads `allow`.
pub(crate) fn allow(value: &Value, rule: &str) -> Result<bool, DecisionError> {
    match value {
        Value::Bool(allow) => Ok(*allow),
        Value::Undefined => Err(undefined(rule)),
        other => Err(not_boolean(rule, other)),
    }
}

/// Reads `deny`: a set or an array of reasons, a reason, or a boolean. No value is no denial.
pub(crate) fn deny(value: &Value, rule: &str) -> Result<Option<Vec<String>>, DecisionError> {
    let reasons: Vec<String> = match value {
        Value::Undefined | Value::Bool(false) => return Ok(None),
        Value::Bool(true) => vec!["denied by the policy".to_owned()],
        Value::String(reason) => vec![reason.to_string()],
        Value::Set(_) | Value::Array(_) => read(to_json(value, rule)?, rule)?,
        other => return Err(malformed(rule, format!("it is {}", type_name(other)))),
    };
    Ok((!reasons.is_empty()).then(|| bounded(reasons)))
}

/// Reads `require_approval`: an object, or true for the defaults.
pub(crate) fn require_approval(
    value: &Value,
    rule: &str,
) -> Result<Option<ApprovalRequirement>, DecisionError> {
    match value {
        Value::Undefined => Ok(None),
        other => requirement(to_json(other, rule)?, rule),
    }
}

/// Reads `obligations`.
pub(crate) fn obligations_of(value: &Value, rule: &str) -> Result<Obligations, DecisionError> {
    match value {
        Value::Undefined => Ok(Obligations::default()),
        other => obligations(to_json(other, rule)?, rule),
    }
}

fn requirement(json: Json, rule: &str) -> Result<Option<ApprovalRequirement>, DecisionError> {
    let json = match json {
        Json::Null | Json::Bool(false) => return Ok(None),
        Json::Bool(true) => Json::Object(serde_json::Map::new()),
        other => other,
    };
    let mut found: ApprovalRequirement = read(json, rule)?;
    found.roles = bounded(found.roles);
    if found.roles.is_empty() || !(1..=MAX_APPROVERS).contains(&found.count) {
        return Err(malformed(
            rule,
            format!("an approval needs a role and 1 to {MAX_APPROVERS} people"),
        ));
    }
    if !(1..=MAX_EXPIRES_SECONDS).contains(&found.expires_seconds) {
        return Err(malformed(
            rule,
            format!("expires_seconds is 1 to {MAX_EXPIRES_SECONDS}"),
        ));
    }
    Ok(Some(found))
}

fn obligations(json: Json, rule: &str) -> Result<Obligations, DecisionError> {
    let Json::Object(fields) = &json else {
        return match json {
            Json::Null => Ok(Obligations::default()),
            _ => Err(malformed(rule, "obligations are an object".to_owned())),
        };
    };
    if let Some(key) = fields
        .keys()
        .find(|key| !Obligations::KEYS.contains(&key.as_str()))
    {
        return Err(DecisionError::UnknownObligation { key: cut(key) });
    }
    let mut found: Obligations = read(json, rule)?;
    if found.redact.len() > MAX_ITEMS {
        return Err(malformed(
            rule,
            format!("more than {MAX_ITEMS} redactions"),
        ));
    }
    found.redact.sort_unstable();
    Ok(found)
}

fn read<T: serde::de::DeserializeOwned>(json: Json, rule: &str) -> Result<T, DecisionError> {
    serde_json::from_value(json).map_err(|error| malformed(rule, cut(&error.to_string())))
}

fn bounded(mut items: Vec<String>) -> Vec<String> {
    items.truncate(MAX_ITEMS);
    for item in &mut items {
        if item.len() > MAX_ITEM_CHARS {
            *item = cut(item);
        }
    }
    items
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_ITEM_CHARS).collect()
}

fn undefined(rule: &str) -> DecisionError {
    DecisionError::Undefined {
        rule: rule.to_owned(),
    }
}

fn not_boolean(rule: &str, value: &Value) -> DecisionError {
    DecisionError::NotBoolean {
        rule: rule.to_owned(),
        found: type_name(value).to_owned(),
    }
}

fn malformed(rule: &str, reason: String) -> DecisionError {
    DecisionError::Malformed {
        rule: rule.to_owned(),
        reason,
    }
}

//! Reads what the rules say.
//!
//! One shape for both forms of policy: whether it allows, why not, what must be approved and what
//! must be kept to. Whatever does not fit is an error, never a guess: a key that is misspelt would
//! otherwise drop a restriction.

use regorus::Value;
use serde::Deserialize;
use serde_json::Value as Json;

use super::decision::{ApprovalRequirement, Effect, Obligations};
use super::entry::Entry;
use super::error::DecisionError;
use super::limits::{MAX_ITEM_CHARS, MAX_ITEMS};
use super::rules::{Place, short};
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

    /// Rules and reasons: the policy's own, or else what is known of the rule that decided.
    pub(crate) fn explanation(
        &self,
        entry: &Entry,
        effect: &Effect,
        fired: Option<Place>,
    ) -> (Vec<String>, Vec<String>) {
        let (rule, reason) = match (effect, entry) {
            (Effect::RequireApproval(need), _) => (
                entry.require_approval(),
                format!("needs approval by {}", need.roles.join(" or ")),
            ),
            (Effect::Deny, Entry::Boolean { .. }) => (entry.root(), "no rule allows it".to_owned()),
            (Effect::Deny, Entry::Object(_)) => (entry.root(), "denied by the policy".to_owned()),
            (Effect::Allow, _) => (entry.root(), "allowed by the policy".to_owned()),
        };
        let (rule, reason) = match (effect, fired) {
            (Effect::Allow, Some(place)) => (place.name, place.comment.unwrap_or(reason)),
            _ => (short(rule).to_owned(), reason),
        };
        let or = |own: &[String], known: String| match own {
            [] => vec![known],
            own => own.to_vec(),
        };
        (or(&self.rules, rule), or(&self.reasons, reason))
    }
}

/// Reads the values of the rules that answer, in the order of the entry's paths.
pub(crate) fn read(entry: &Entry, values: &[Value]) -> Result<Verdict, DecisionError> {
    let mut values = values.iter();
    let mut next = || values.next().unwrap_or(&Value::Undefined);
    let (allow_path, deny_path, approval_path, obligations_path) = match entry {
        Entry::Object(path) => return from_object(next(), short(path)),
        Entry::Boolean {
            allow,
            deny,
            require_approval,
            obligations,
        } => (allow, deny, require_approval, obligations),
    };
    let mut verdict = Verdict::default();
    let allowed = allow(next(), short(allow_path));
    if let Some(path) = deny_path
        && let Some(reasons) = deny(next(), short(path))?
    {
        verdict.denied = true;
        verdict.reasons = reasons;
        verdict.rules = vec![short(path).to_owned()];
        return Ok(verdict);
    }
    verdict.allow = allowed?;
    if let Some(path) = approval_path {
        verdict.require_approval = require_approval(next(), short(path))?;
    }
    if let Some(path) = obligations_path {
        verdict.obligations = obligations_of(next(), short(path))?;
    }
    Ok(verdict)
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
fn from_object(value: &Value, rule: &str) -> Result<Verdict, DecisionError> {
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
    let object: Object = parse(to_json(value, rule)?, rule)?;
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
fn allow(value: &Value, rule: &str) -> Result<bool, DecisionError> {
    match value {
        Value::Bool(allow) => Ok(*allow),
        Value::Undefined => Err(undefined(rule)),
        other => Err(not_boolean(rule, other)),
    }
}

/// Reads `deny`: a set or an array of reasons, a reason, or a boolean. No value is no denial.
fn deny(value: &Value, rule: &str) -> Result<Option<Vec<String>>, DecisionError> {
    let reasons: Vec<String> = match value {
        Value::Undefined | Value::Bool(false) => return Ok(None),
        Value::Bool(true) => vec!["denied by the policy".to_owned()],
        Value::String(reason) => vec![reason.to_string()],
        Value::Set(_) | Value::Array(_) => parse(to_json(value, rule)?, rule)?,
        other => return Err(malformed(rule, format!("it is {}", type_name(other)))),
    };
    Ok((!reasons.is_empty()).then(|| bounded(reasons)))
}

/// Reads `require_approval`: an object, or true for the defaults.
fn require_approval(
    value: &Value,
    rule: &str,
) -> Result<Option<ApprovalRequirement>, DecisionError> {
    match value {
        Value::Undefined => Ok(None),
        other => requirement(to_json(other, rule)?, rule),
    }
}

/// Reads `obligations`.
fn obligations_of(value: &Value, rule: &str) -> Result<Obligations, DecisionError> {
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
    let mut found: ApprovalRequirement = parse(json, rule)?;
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
    found.escalate_to = bounded(found.escalate_to);
    let escalates = !found.escalate_to.is_empty();
    let in_time =
        (found.escalate_seconds).is_none_or(|after| after >= 1 && after < found.expires_seconds);
    if escalates != found.escalate_seconds.is_some() || !in_time {
        let reason =
            "escalate_seconds and escalate_to belong together, and come before expires_seconds";
        return Err(malformed(rule, reason.to_owned()));
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
    let mut found: Obligations = parse(json, rule)?;
    if found.redact.len() > MAX_ITEMS {
        return Err(malformed(rule, format!("more than {MAX_ITEMS} redactions")));
    }
    found.redact.sort_unstable();
    Ok(found)
}

fn parse<T: serde::de::DeserializeOwned>(json: Json, rule: &str) -> Result<T, DecisionError> {
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

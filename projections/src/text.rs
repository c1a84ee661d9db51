//! What a table cannot hold, made so that it can. Texts come from people, models and tools: a NUL
//! or a name of a thousand characters must not stop the projection of everybody's events.
//!
//! Refusing such text at the door was the alternative. The log takes any text, and what is in the
//! log must be projected.

use std::borrow::Cow;

use nexus_events::ledger::{Amounts, Scope, Unit, Window};
use nexus_events::{Body, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

/// Longest text of a `VARCHAR(255)`.
const NAME_CHARS: usize = 255;

/// The most that an amount column holds: what JSON numbers hold exactly, and far from where sums of
/// a signed column overflow.
pub(crate) const MAX_AMOUNT: i64 = (1 << 53) - 1;

/// Text without NUL, which Postgres cannot store.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The same, owned.
pub(crate) fn owned(value: &str) -> String {
    text(value).into_owned()
}

/// The beginning of a text, in characters.
pub(crate) fn cut(value: &str, chars: usize) -> String {
    text(value).chars().take(chars).collect()
}

/// A name that fits its column and an index. A longer one keeps its beginning and ends in a digest
/// of the whole, so that two long names stay two.
pub(crate) fn name(value: &str) -> String {
    let clean = text(value);
    if clean.len() <= NAME_CHARS {
        return clean.into_owned();
    }
    let digest = hex::encode(Sha256::digest(clean.as_bytes()));
    let start: String = clean.chars().take(NAME_CHARS - 17).collect();
    format!("{start}~{}", digest.get(..16).unwrap_or_default())
}

/// JSON without NUL in any text.
pub(crate) fn clean(value: Value) -> Value {
    match value {
        Value::String(text) if text.contains('\0') => Value::String(owned(&text)),
        Value::Array(items) => items.into_iter().map(clean).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, value)| (owned(&key), clean(value)))
            .collect(),
        other => other,
    }
}

/// A value of ours as JSON. Our types have string keys only, so that it cannot fail.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Value {
    serde_json::to_value(value).map_or(Value::Null, clean)
}

/// A text that a tool gave as JSON; what is not JSON is a JSON string.
pub(crate) fn parse(value: &str) -> Value {
    clean(serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned())))
}

/// A body for a table: the text where it is inline, else where it is.
pub(crate) fn body(body: &Body) -> (Option<String>, Option<Value>) {
    match body {
        Body::Inline(inline) => (Some(owned(inline)), None),
        Body::Stored { object, bytes } => (None, Some(json!({ "object": object, "bytes": bytes }))),
    }
}

/// An amount for a column.
pub(crate) fn amount(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(MAX_AMOUNT).min(MAX_AMOUNT)
}

/// Amounts that fit their columns.
pub(crate) fn amounts(value: Amounts) -> Amounts {
    let fit = |value| amount(value).unsigned_abs();
    Amounts {
        tokens: fit(value.tokens),
        cost_usd_micros: fit(value.cost_usd_micros),
        time_ms: fit(value.time_ms),
        tool_calls: fit(value.tool_calls),
        runs: fit(value.runs),
    }
}

/// A sequence for a column.
pub(crate) fn seq(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A small number for a column.
pub(crate) fn small(value: u64) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// A time for a column: the years that Postgres and RFC 3339 both know.
pub(crate) fn at(time: Timestamp) -> OffsetDateTime {
    time.to_datetime().max(OffsetDateTime::UNIX_EPOCH)
}

/// A scope's kind and id as in the table.
pub(crate) fn scope_key(scope: &Scope) -> (&'static str, String) {
    (scope.kind(), name(&scope.id()))
}

/// The line of those who wait for one unit of a scope in a window.
pub(crate) fn line(scope: &Scope, window: Window, unit: Unit) -> String {
    let (kind, id) = scope_key(scope);
    format!("{kind}:{id}:{}:{}", window.as_str(), unit.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nul_is_replaced_wherever_it_is() {
        assert_eq!(text("a\0b"), "a\u{fffd}b");
        let dirty = json!({ "k\0": ["x\0", { "y": "\0" }], "n": 1 });
        let clean = clean(dirty).to_string();
        assert!(!clean.contains("\\u0000"), "{clean}");
    }

    #[test]
    fn a_long_name_fits_and_stays_itself() {
        let (a, b) = ("x".repeat(300), format!("{}y", "x".repeat(300)));
        assert_ne!(name(&a), name(&b));
        assert_eq!(name(&a), name(&a));
        for long in [a, "ä".repeat(300), "\u{1f600}".repeat(300)] {
            assert!(name(&long).chars().count() <= NAME_CHARS);
        }
        assert_eq!(name("ada"), "ada");
    }

    #[test]
    fn what_a_tool_gives_is_json_or_a_json_string() {
        assert_eq!(parse("{\"a\":1}"), json!({ "a": 1 }));
        assert_eq!(parse("plain"), json!("plain"));
        assert_eq!(parse("\"\\u0000\""), json!("\u{fffd}"));
    }

    #[test]
    fn amounts_stay_where_sums_do_not_overflow() {
        assert_eq!(amount(u64::MAX), MAX_AMOUNT);
        assert!(MAX_AMOUNT.checked_add(MAX_AMOUNT).is_some());
    }
}

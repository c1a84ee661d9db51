//! JSON to the evaluator's values, bounded, and back.

use std::collections::BTreeMap;

use regorus::Value;
use serde_json::Value as Json;

use super::error::DecisionError;

/// Why a document was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    Bytes,
    Depth,
}

/// Converts, stopping at the first excess. The recursion is as deep as `depth` at most.
pub(crate) fn from_json(json: &Json, bytes: usize, depth: usize) -> Result<Value, Excess> {
    let mut left = bytes;
    convert(json, &mut left, depth)
}

fn convert(json: &Json, left: &mut usize, depth: usize) -> Result<Value, Excess> {
    match json {
        Json::String(text) => {
            spend(left, text.len())?;
            return Ok(Value::from(text.as_str()));
        }
        _ => spend(left, 8)?,
    }
    Ok(match json {
        Json::Null | Json::String(_) => Value::Null,
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => from_number(number),
        Json::Array(items) => {
            let depth = depth.checked_sub(1).ok_or(Excess::Depth)?;
            let items: Result<Vec<_>, _> = items.iter().map(|i| convert(i, left, depth)).collect();
            Value::from(items?)
        }
        Json::Object(fields) => {
            let depth = depth.checked_sub(1).ok_or(Excess::Depth)?;
            let mut map = BTreeMap::new();
            for (key, field) in fields {
                spend(left, key.len())?;
                map.insert(Value::from(key.as_str()), convert(field, left, depth)?);
            }
            Value::from(map)
        }
    })
}

fn spend(left: &mut usize, bytes: usize) -> Result<(), Excess> {
    *left = left.checked_sub(bytes).ok_or(Excess::Bytes)?;
    Ok(())
}

fn from_number(number: &serde_json::Number) -> Value {
    if let Some(value) = number.as_u64() {
        Value::from(value)
    } else if let Some(value) = number.as_i64() {
        Value::from(value)
    } else {
        number.as_f64().map_or(Value::Null, Value::from)
    }
}

/// A rule's value as JSON; sets become arrays in their order.
pub(crate) fn to_json(value: &Value, rule: &str) -> Result<Json, DecisionError> {
    serde_json::to_value(value).map_err(|error| DecisionError::Malformed {
        rule: rule.to_owned(),
        reason: error.to_string(),
    })
}

/// The name of a value's type, for messages that must not repeat the value.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Set(_) => "a set",
        Value::Object(_) => "an object",
        Value::Undefined => "undefined",
    }
}

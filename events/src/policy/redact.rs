//! Leaves fields out, as policy obliges: of what a model says to a tool before it is recorded, of the
//! arguments before the tool gets them, of the result before anybody does.

use serde_json::Value;

/// What stands in the place of a value.
const LEFT_OUT: &str = "[redacted]";

/// Replaces the value of every field of these names, at any depth.
pub fn redact(value: &mut Value, names: &[String]) {
    if names.is_empty() {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if names.contains(name) {
                    *value = Value::String(LEFT_OUT.to_owned());
                } else {
                    redact(value, names);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redact(item, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_left_out_at_any_depth() {
        let mut value = json!({ "a": 1, "rows": [{ "ssn": "1", "name": "x" }], "ssn": { "b": 2 } });
        redact(&mut value, &["ssn".to_owned()]);
        let expected = json!({
            "a": 1, "rows": [{ "ssn": "[redacted]", "name": "x" }], "ssn": "[redacted]",
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn nothing_is_left_out_without_being_named() {
        let mut value = json!({ "a": [1, "b"] });
        redact(&mut value, &[]);
        assert_eq!(value, json!({ "a": [1, "b"] }));
    }
}

//! An entry of the audit log, its canonical form and its hash. What is hashed is exactly what an
//! export shows: the entry as JSON with sorted keys and no white space, without its two hashes.
//!
//! The columns as bytes were the alternative. They would need no rules for JSON here, and a program
//! of somebody else who has nothing but an export could not repeat them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use nexus_events::{Tenant, Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Version of the canonical form. Another form is another number, and a rebuild of the chain.
pub(crate) const VERSION: u8 = 1;

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRow {
    /// Version of the form that is hashed.
    pub v: u8,
    /// Whose it is.
    pub tenant: Tenant,
    /// Its place among the tenant's entries, from 1.
    pub number: u64,
    /// Sequence of the commit that recorded it.
    pub seq: u64,
    /// The event's place in that commit.
    pub position: u32,
    /// The entry.
    pub id: Uuid,
    /// Who acted; `system` where nobody did, `anonymous` where nobody knows, `bus` for a client of
    /// the bus that named nobody.
    pub user_id: String,
    /// What was done, such as `run.started`, `policy.denied` or `budget.limits_set`.
    pub action: String,
    /// To what kind of thing.
    pub resource_type: String,
    /// To which.
    pub resource_id: Option<String>,
    /// Why, in a sentence.
    pub reason: Option<String>,
    /// The rest: rules and bundle of a policy, figures of the ledger, the limits before.
    pub details: Value,
    /// The address from which it was asked for.
    #[schemars(with = "Option<String>")]
    pub ip_address: Option<IpAddr>,
    /// The program that asked for it, as it names itself.
    pub user_agent: Option<String>,
    /// When.
    pub created_at: Timestamp,
    /// Hash of the tenant's entry before it; zeros for the first.
    pub prev_hash: AuditHash,
    /// SHA-256 over `prev_hash` and the entry.
    pub hash: AuditHash,
}

impl AuditRow {
    /// The hash that the entry must have after the one with the hash `prev`.
    pub fn hash_after(&self, prev: AuditHash) -> AuditHash {
        let mut hash = Sha256::new();
        hash.update(prev.0);
        hash.update(self.canonical());
        AuditHash(hash.finalize().into())
    }

    /// What is hashed: the fields but the hashes, as JSON. Their order here is that of their names.
    fn canonical(&self) -> Vec<u8> {
        let mut out = Canonical(String::with_capacity(640));
        out.begin("{\"action\":").string(&self.action);
        out.begin(",\"created_at\":")
            .string(&self.created_at.to_string());
        out.begin(",\"details\":").value(&self.details);
        out.begin(",\"id\":").string(&self.id.to_string());
        let address = self.ip_address.map(|address| address.to_string());
        out.begin(",\"ip_address\":").optional(address.as_deref());
        out.begin(",\"number\":").begin(&self.number.to_string());
        out.begin(",\"position\":")
            .begin(&self.position.to_string());
        out.begin(",\"reason\":").optional(self.reason.as_deref());
        out.begin(",\"resource_id\":")
            .optional(self.resource_id.as_deref());
        out.begin(",\"resource_type\":").string(&self.resource_type);
        out.begin(",\"seq\":").begin(&self.seq.to_string());
        out.begin(",\"tenant\":").string(self.tenant.as_str());
        out.begin(",\"user_agent\":")
            .optional(self.user_agent.as_deref());
        out.begin(",\"user_id\":").string(&self.user_id);
        out.begin(",\"v\":").begin(&self.v.to_string()).begin("}");
        out.0.into_bytes()
    }
}

/// JSON that has one form for one value. Keys are sorted by code point, and only what must be
/// escaped is.
struct Canonical(String);

impl Canonical {
    /// Adds text as it is.
    fn begin(&mut self, text: &str) -> &mut Self {
        self.0.push_str(text);
        self
    }

    fn string(&mut self, text: &str) {
        self.0.push('"');
        let mut rest = text;
        // Most texts have nothing to escape, and go in whole.
        while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
            let (plain, from) = rest.split_at(at);
            self.0.push_str(plain);
            let mut chars = from.chars();
            match chars.next() {
                Some('"') => self.0.push_str("\\\""),
                Some('\\') => self.0.push_str("\\\\"),
                Some('\u{8}') => self.0.push_str("\\b"),
                Some('\t') => self.0.push_str("\\t"),
                Some('\n') => self.0.push_str("\\n"),
                Some('\u{c}') => self.0.push_str("\\f"),
                Some('\r') => self.0.push_str("\\r"),
                Some(other) => self.0.push_str(&format!("\\u{:04x}", u32::from(other))),
                None => {}
            }
            rest = chars.as_str();
        }
        self.0.push_str(rest);
        self.0.push('"');
    }

    fn optional(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.0.push_str("null"),
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.0.push_str("null"),
            Value::Bool(value) => self.0.push_str(if *value { "true" } else { "false" }),
            Value::Number(number) => self.0.push_str(&number.to_string()),
            Value::String(text) => self.string(text),
            Value::Array(items) => {
                self.0.push('[');
                for (index, item) in items.iter().enumerate() {
                    self.begin(if index > 0 { "," } else { "" }).value(item);
                }
                self.0.push(']');
            }
            Value::Object(fields) => {
                // Sorted whatever order the map of this build keeps.
                let mut fields: Vec<_> = fields.iter().collect();
                fields.sort_unstable_by_key(|(key, _)| *key);
                self.0.push('{');
                for (index, (key, value)) in fields.into_iter().enumerate() {
                    self.begin(if index > 0 { "," } else { "" }).string(key);
                    self.begin(":").value(value);
                }
                self.0.push('}');
            }
        }
    }
}

/// JSON whose numbers are whole. One with a fraction is a text: programs differ in how they write
/// those, and a hash must not.
pub(crate) fn exact(value: Value) -> Value {
    match value {
        Value::Number(number) if !(number.is_u64() || number.is_i64()) => {
            Value::String(number.to_string())
        }
        Value::Array(items) => items.into_iter().map(exact).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, value)| (key, exact(value)))
            .collect(),
        other => other,
    }
}

/// A SHA-256 digest; 64 hex digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuditHash([u8; 32]);

impl AuditHash {
    /// What comes before the first entry.
    pub const ZERO: Self = Self([0; 32]);

    /// As a column holds it.
    pub(crate) fn to_vec(self) -> Vec<u8> {
        self.0.to_vec()
    }

    /// Reads a column.
    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// A text that is no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash has 64 hex digits")]
pub struct InvalidHash;

impl FromStr for AuditHash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidHash)?;
        Ok(Self(bytes))
    }
}

impl<'de> Deserialize<'de> for AuditHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl fmt::Display for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for AuditHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for AuditHash {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AuditHash".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9a-f]{64}$" })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use serde_json::json;

    use super::*;
    use crate::ids;

    /// The entry with this number, which follows `prev`.
    pub(crate) fn entry(number: u64, prev: AuditHash) -> AuditRow {
        let mut row = AuditRow {
            v: VERSION,
            tenant: "acme".parse().unwrap(),
            number,
            seq: 10 * number,
            position: 1,
            id: ids::of_position(10 * number, 1),
            user_id: "ada".into(),
            action: "run.cancelled".into(),
            resource_type: "run".into(),
            resource_id: Some("r1".into()),
            reason: Some("too \"late\",\n\u{1}\u{7f} ä\u{1f600}".into()),
            details: json!({ "b": [1, null, true], "a": { "z": u64::MAX, "": -3 } }),
            ip_address: Some("2001:db8::7".parse().unwrap()),
            user_agent: None,
            created_at: Timestamp::from_millis(1_795_353_377_328),
            prev_hash: prev,
            hash: AuditHash::ZERO,
        };
        row.hash = row.hash_after(prev);
        row
    }

    #[test]
    fn the_canonical_form_is_pinned() {
        let row = entry(1, AuditHash::ZERO);
        let expected = "{\"action\":\"run.cancelled\",\
            \"created_at\":\"2026-11-22T13:16:17.328Z\",\
            \"details\":{\"a\":{\"\":-3,\"z\":18446744073709551615},\"b\":[1,null,true]},\
            \"id\":\"00000000-000a-8000-8000-000000000001\",\
            \"ip_address\":\"2001:db8::7\",\"number\":1,\"position\":1,\
            \"reason\":\"too \\\"late\\\",\\n\\u0001\u{7f} ä\u{1f600}\",\
            \"resource_id\":\"r1\",\"resource_type\":\"run\",\"seq\":10,\"tenant\":\"acme\",\
            \"user_agent\":null,\"user_id\":\"ada\",\"v\":1}";
        assert_eq!(String::from_utf8(row.canonical()).unwrap(), expected);
        // A change here makes every chain that was ever kept another one: it needs another `v`.
        let hash = "287b257381b4a93e638c1826fe4f19605a8e997d9a79f333124ca98ac619b4f3";
        assert_eq!(row.hash.to_string(), hash);
        assert_eq!(hash.parse(), Ok(row.hash));
    }

    #[test]
    fn the_canonical_form_is_what_an_export_shows_but_for_the_hashes() {
        let mut shown = serde_json::to_value(entry(2, AuditHash::ZERO)).unwrap();
        let fields = shown.as_object_mut().unwrap();
        fields.remove("hash").unwrap();
        fields.remove("prev_hash").unwrap();
        let mut out = Canonical(String::new());
        out.value(&shown);
        let canonical = entry(2, AuditHash::ZERO).canonical();
        assert_eq!(out.0, String::from_utf8(canonical).unwrap());
    }

    #[test]
    fn every_field_counts() {
        let row = entry(1, AuditHash::ZERO);
        let changes: [fn(&mut AuditRow); 15] = [
            |row| row.v = 2,
            |row| row.tenant = "other".parse().unwrap(),
            |row| row.number = 2,
            |row| row.seq = 11,
            |row| row.position = 2,
            |row| row.id = Uuid::nil(),
            |row| row.user_id = "bob".into(),
            |row| row.action = "run.paused".into(),
            |row| row.resource_type = "budget".into(),
            |row| row.resource_id = None,
            |row| row.reason = None,
            |row| row.details["b"] = json!([]),
            |row| row.ip_address = None,
            |row| row.user_agent = Some(String::new()),
            |row| row.created_at = Timestamp::from_millis(0),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut changed = row.clone();
            change(&mut changed);
            assert_ne!(changed.hash_after(AuditHash::ZERO), row.hash, "{index}");
        }
        assert_ne!(row.hash_after(row.hash), row.hash);
    }

    #[test]
    fn numbers_with_a_fraction_are_texts() {
        let value = exact(json!({ "a": [1, 1.5, -2], "b": 1e300 }));
        assert_eq!(value, json!({ "a": [1, "1.5", -2], "b": "1e+300" }));
    }
}

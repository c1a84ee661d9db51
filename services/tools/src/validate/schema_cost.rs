//! How often a schema looks at one value. `allOf` of two references to an `allOf` of two references
//! … doubles with every line, and no validator can be told to give up; so it is computed before, for
//! values as deep as they may be, and a schema that looks too often is refused. A recursive schema
//! for a tree looks once at every value, however it branches.

use std::collections::{HashMap, HashSet};

use regex::RegexBuilder;
use serde_json::Value;

use super::schema::SchemaError;

/// As deep as a checked value may be.
const DEPTH: usize = 32;
/// Looks at one value and at one path of what is below it.
const MAX_LOOKS: u64 = 2_000;
/// Schemas on the way from the root to the one that looks.
const MAX_CHAIN: usize = 400;
const MAX_PATTERNS: usize = 64;
const MAX_PATTERN: usize = 512;
const PATTERN_BYTES: usize = 1 << 20;

/// Keywords that nothing is taken with: they refer to what is elsewhere, or depend on how a schema
/// was reached.
const REFUSED: &[&str] = &[
    "$dynamicRef",
    "$recursiveRef",
    "$dynamicAnchor",
    "$vocabulary",
];

const ONE: &[&str] = &["not", "if", "then", "else"];
const LISTS: &[&str] = &["allOf", "anyOf", "oneOf"];
const OF_FIELDS: &[&str] = &[
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
];
const OF_ITEMS: &[&str] = &["items", "additionalItems", "unevaluatedItems", "contains"];

/// Refuses what could keep the validator busy or what it would have to fetch.
pub(super) fn check(schema: &Value) -> Result<(), SchemaError> {
    let mut patterns = 0;
    check_patterns(schema, &mut patterns)?;
    let mut count = Count {
        root: schema,
        known: HashMap::new(),
        under_way: HashSet::new(),
    };
    if count.looks(schema, DEPTH)?.total() > MAX_LOOKS {
        return Err(refused("parts that look at one value too often", ""));
    }
    Ok(())
}

fn refused(what: &'static str, at: &str) -> SchemaError {
    SchemaError::Refused {
        what,
        at: at.chars().take(80).collect(),
    }
}

/// Looks at a value itself, and at one value below it if it is an object, or an array.
#[derive(Clone, Copy, Default)]
struct Looks {
    own: u64,
    fields: u64,
    items: u64,
}

impl Looks {
    fn total(self) -> u64 {
        self.own.saturating_add(self.fields.max(self.items))
    }

    fn add(&mut self, other: Self) {
        self.own = self.own.saturating_add(other.own);
        self.fields = self.fields.saturating_add(other.fields);
        self.items = self.items.saturating_add(other.items);
    }
}

/// A schema by where it is in memory, and the depth that is left.
type Place = (usize, usize);

struct Count<'s> {
    root: &'s Value,
    known: HashMap<Place, Looks>,
    under_way: HashSet<Place>,
}

impl<'s> Count<'s> {
    fn looks(&mut self, schema: &'s Value, depth: usize) -> Result<Looks, SchemaError> {
        let place = (std::ptr::from_ref(schema) as usize, depth);
        if let Some(known) = self.known.get(&place) {
            return Ok(*known);
        }
        if !self.under_way.insert(place) {
            return Err(refused("a reference that leads back to itself", ""));
        }
        if self.under_way.len() > MAX_CHAIN {
            return Err(refused("references chained too long", ""));
        }
        let mut looks = Looks {
            own: 1,
            ..Looks::default()
        };
        if let Value::Object(_) = schema {
            self.check_names(schema)?;
            for same in self.of_the_same_value(schema)? {
                looks.add(self.looks(same, depth)?);
            }
            if let Some(below) = depth.checked_sub(1) {
                looks.add(self.below(schema, below)?);
            }
        }
        self.under_way.remove(&place);
        self.known.insert(place, looks);
        Ok(looks)
    }

    fn check_names(&self, schema: &Value) -> Result<(), SchemaError> {
        if let Some(name) = REFUSED.iter().find(|name| schema.get(name).is_some()) {
            return Err(refused("a keyword that is not taken", name));
        }
        let inner = !std::ptr::eq(schema, self.root);
        if inner
            && ["$id", "id"]
                .iter()
                .any(|name| schema.get(name).is_some_and(Value::is_string))
        {
            return Err(refused("an identifier of its own inside", "$id"));
        }
        Ok(())
    }

    /// The schemas that look at the same value.
    fn of_the_same_value(&self, schema: &'s Value) -> Result<Vec<&'s Value>, SchemaError> {
        let mut same: Vec<_> = ONE.iter().filter_map(|name| schema.get(name)).collect();
        for name in LISTS {
            same.extend(
                schema
                    .get(name)
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten(),
            );
        }
        for name in ["dependentSchemas", "dependencies"] {
            let fields = schema.get(name).and_then(Value::as_object);
            same.extend(fields.into_iter().flat_map(|fields| fields.values()));
        }
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            same.push(self.resolve(reference)?);
        }
        Ok(same)
    }

    fn resolve(&self, reference: &str) -> Result<&'s Value, SchemaError> {
        let pointer = reference.strip_prefix('#');
        let pointer = pointer.filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let pointer = pointer.filter(|rest| !rest.contains('%'));
        let target = pointer.and_then(|pointer| self.root.pointer(pointer));
        target.ok_or_else(|| refused("a reference to what is not in it", reference))
    }

    fn below(&mut self, schema: &'s Value, depth: usize) -> Result<Looks, SchemaError> {
        let mut looks = Looks::default();
        let fields = |name| {
            schema
                .get(name)
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
        };
        let mut most = 0;
        for (_, field) in fields("properties") {
            most = most.max(self.looks(field, depth)?.total());
        }
        looks.fields = most;
        let others = fields("patternProperties").map(|(_, schema)| schema);
        for other in others.chain(OF_FIELDS.iter().filter_map(|name| schema.get(name))) {
            let total = self.looks(other, depth)?.total();
            looks.fields = looks.fields.saturating_add(total);
        }
        // Before draft 2020-12 `items` may be a list, as `prefixItems` is now.
        let mut most = 0;
        for name in ["prefixItems", "items"] {
            for item in schema
                .get(name)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                most = most.max(self.looks(item, depth)?.total());
            }
        }
        looks.items = most;
        for other in OF_ITEMS.iter().filter_map(|name| schema.get(name)) {
            let total = self.looks(other, depth)?.total();
            looks.items = looks.items.saturating_add(total);
        }
        Ok(looks)
    }
}

/// Patterns are few, short, and small when compiled, wherever they stand.
fn check_patterns(value: &Value, seen: &mut usize) -> Result<(), SchemaError> {
    match value {
        Value::Object(fields) => {
            if let Some(pattern) = fields.get("pattern").and_then(Value::as_str) {
                check_pattern(pattern, seen)?;
            }
            let patterns = fields.get("patternProperties").and_then(Value::as_object);
            for (pattern, _) in patterns.into_iter().flatten() {
                check_pattern(pattern, seen)?;
            }
            fields
                .values()
                .try_for_each(|value| check_patterns(value, seen))
        }
        Value::Array(items) => items
            .iter()
            .try_for_each(|value| check_patterns(value, seen)),
        _ => Ok(()),
    }
}

fn check_pattern(pattern: &str, seen: &mut usize) -> Result<(), SchemaError> {
    *seen += 1;
    if *seen > MAX_PATTERNS {
        return Err(refused("more patterns than are taken", ""));
    }
    let fits = pattern.len() <= MAX_PATTERN
        && RegexBuilder::new(pattern)
            .size_limit(PATTERN_BYTES)
            .build()
            .is_ok();
    if fits {
        return Ok(());
    }
    Err(refused(
        "a pattern that is too large, or looks around or back",
        pattern,
    ))
}

//! JSON Schema, by `boon`: its patterns are of an engine that takes linear time, which matters where
//! the schema comes with an imported tool, and it builds in seconds. `jsonschema` is faster at
//! checking and costs minutes of building.
//!
//! Nothing is fetched: a schema that refers to another document is refused, and so is one that could
//! keep the validator busy ([`super::schema_cost`]).

use std::sync::{Arc, Mutex, PoisonError};

use boon::{Compiler, Draft, SchemaIndex, Schemas, UrlLoader, ValidationError};
use hashlink::LruCache;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::schema_cost;
use super::shape::{Shape, ShapeFault};

const MAX_BYTES: u64 = 64 << 10;
const CACHED: usize = 256;
const TOLD: usize = 5;
const TOLD_CHARS: usize = 300;
const PLACE: &str = "urn:tool";

/// A schema, ready to check values.
#[derive(Clone)]
pub struct Schema(Arc<Compiled>);

struct Compiled {
    schemas: Schemas,
    root: SchemaIndex,
}

/// Why a schema is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// It is too large or too deep.
    #[error("the schema is out of bounds: {0}")]
    Shape(#[from] ShapeFault),
    /// It says something that is not taken from tools.
    #[error("the schema has {what} at {at:?}")]
    Refused {
        /// What.
        what: &'static str,
        /// The keyword's value, shortened.
        at: String,
    },
    /// It is no JSON Schema.
    #[error("this is no JSON Schema: {0}")]
    Invalid(String),
}

/// Where a value is not as its schema says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Mismatch(pub Vec<String>);

impl Schema {
    /// Reads a schema, of draft 2020-12 unless it says another.
    ///
    /// # Errors
    /// [`SchemaError`].
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        Shape::of_at_most(MAX_BYTES).check(schema)?;
        schema_cost::check(schema)?;
        let mut schemas = Schemas::new();
        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V2020_12);
        compiler.use_loader(Box::new(Nothing));
        let invalid =
            |cause: boon::CompileError| SchemaError::Invalid(shorten(&format!("{cause:#}")));
        compiler
            .add_resource(PLACE, schema.clone())
            .map_err(invalid)?;
        let root = compiler.compile(PLACE, &mut schemas).map_err(invalid)?;
        Ok(Self(Arc::new(Compiled { schemas, root })))
    }

    /// Whether a value is as the schema says. The value's depth is bounded by whoever read it.
    ///
    /// # Errors
    /// [`Mismatch`] with the first few places.
    pub fn check(&self, value: &Value) -> Result<(), Mismatch> {
        let Compiled { schemas, root } = &*self.0;
        schemas.validate(value, *root).map_err(|error| {
            let mut told = Vec::new();
            tell(&error, &mut told);
            Mismatch(told)
        })
    }
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Schema").finish_non_exhaustive()
    }
}

/// The innermost faults, which say what is wrong; what is around them says only that something is.
fn tell(error: &ValidationError<'_, '_>, told: &mut Vec<String>) {
    if told.len() >= TOLD {
        return;
    }
    if error.causes.is_empty() {
        let place = error.instance_location.to_string();
        let place = if place.is_empty() {
            "the whole".to_owned()
        } else {
            place
        };
        told.push(shorten(&format!("{place}: {}", error.kind)));
    }
    error.causes.iter().for_each(|cause| tell(cause, told));
}

fn shorten(text: &str) -> String {
    text.chars().take(TOLD_CHARS).collect()
}

/// Loads nothing: the one that comes with the crate reads files.
struct Nothing;

impl UrlLoader for Nothing {
    fn load(&self, _: &str) -> Result<Value, Box<dyn std::error::Error>> {
        Err("other documents are not fetched".into())
    }
}

/// Schemas by what is in them, the most recent ones.
pub struct SchemaCache(Mutex<LruCache<[u8; 32], Schema>>);

impl Default for SchemaCache {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(CACHED)))
    }
}

impl SchemaCache {
    /// The schema, compiled now or earlier.
    ///
    /// # Errors
    /// [`SchemaError`].
    pub fn get(&self, schema: &Value) -> Result<Schema, SchemaError> {
        let digest = Sha256::digest(schema.to_string()).into();
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&digest) {
            return Ok(known.clone());
        }
        let compiled = Schema::compile(schema)?;
        lock().insert(digest, compiled.clone());
        Ok(compiled)
    }
}

impl std::fmt::Debug for SchemaCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SchemaCache").finish_non_exhaustive()
    }
}

//! What the models share: rows folded by key in the order of their first change, and columns made
//! of rows for `UNNEST`.

use std::collections::HashMap;
use std::hash::Hash;

use nexus_events::{Actor, Tenant, Timestamp};

/// Where an event is, and who acted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    /// Whose.
    pub(crate) tenant: &'a Tenant,
    /// Sequence of its commit.
    pub(crate) seq: u64,
    /// Its place in the commit.
    pub(crate) position: u32,
    /// When the commit was decided.
    pub(crate) time: Timestamp,
    /// Who acted.
    pub(crate) actor: Option<&'a Actor>,
}

/// Rows by key, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Rows<K, R> {
    rows: Vec<R>,
    index: HashMap<K, usize>,
}

impl<K, R> Default for Rows<K, R> {
    fn default() -> Self {
        Self { rows: Vec::new(), index: HashMap::new() }
    }
}

impl<K: Hash + Eq, R> Rows<K, R> {
    /// The row of a key; a new one where there is none.
    pub(crate) fn entry(&mut self, key: K, new: impl FnOnce() -> R) -> &mut R {
        let rows = &mut self.rows;
        let at = *self.index.entry(key).or_insert_with(|| {
            rows.push(new());
            rows.len() - 1
        });
        &mut rows[at]
    }

    /// All rows.
    pub(crate) fn all(&self) -> &[R] {
        &self.rows
    }
}

/// One column of many rows.
pub(crate) fn col<'a, R, T>(
    rows: impl IntoIterator<Item = &'a R>,
    value: impl Fn(&'a R) -> T,
) -> Vec<T>
where
    R: 'a,
{
    rows.into_iter().map(value).collect()
}

//! Commands that ask the gateway one thing and show the answer, a file a resource.

pub(crate) mod approvals;
pub(crate) mod audit;
pub(crate) mod budgets;
pub(crate) mod catalog;
pub(crate) mod keys;
pub(crate) mod policies;
mod policy_history;
mod policy_local;
pub(crate) mod runs;
pub(crate) mod sessions;
mod tool_files;
pub(crate) mod tools;
pub(crate) mod webhooks;

use serde_json::Value;

use super::error::CliError;
use super::http::{Gateway, Request};
use super::print::Output;
use super::view::Field;

/// What every list takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Paging {
    /// Rows at most
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Where the page before this one ended
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// Wait until the read models have this sequence
    #[arg(long, value_name = "SEQ")]
    min_seq: Option<u64>,
}

type Query<'a> = Vec<(&'a str, Option<String>)>;

impl Paging {
    fn query(&self) -> Query<'static> {
        vec![
            ("limit", self.limit.map(|limit| limit.to_string())),
            ("cursor", self.cursor.clone()),
            ("min_seq", self.min_seq.map(|seq| seq.to_string())),
        ]
    }
}

/// The gateway, and how its answers are shown.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    /// The gateway.
    pub(crate) gateway: Gateway,
    /// Table or JSON.
    pub(crate) output: Output,
}

impl Asker {
    async fn list(
        &self,
        path: &[&str],
        query: Query<'_>,
        fields: &[Field],
    ) -> Result<(), CliError> {
        let request = Request {
            path,
            query: &query,
            ..Request::default()
        };
        self.output.list(fields, &self.gateway.get(request).await?)
    }

    async fn get(&self, path: &[&str]) -> Result<Value, CliError> {
        self.gateway.get(Request::at(path)).await
    }

    async fn put(&self, path: &[&str], body: &Value) -> Result<Value, CliError> {
        self.gateway.put(Request::at(path), body).await
    }

    async fn delete(&self, path: &[&str]) -> Result<Value, CliError> {
        self.gateway.delete(Request::at(path)).await
    }

    async fn post(&self, path: &[&str], body: &Value) -> Result<Value, CliError> {
        self.gateway.post(Request::at(path), body).await
    }
}

/// A body of the fields that are there.
fn body<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let given = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(given.collect())
}

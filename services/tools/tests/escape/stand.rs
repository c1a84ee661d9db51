//! What every attempt is made with: the public executors, a workspace of its own, and a resolver
//! that answers from a table.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nexus_events::tool::ToolLimits;
use nexus_events::tool::{ByteSize, NetworkPermissions, PathPermissions, Permissions, Span};
use nexus_events::{RunId, Tenant};
use nexus_tools::ToolError;
use nexus_tools::builtin::files::{Quota, Workspaces};
use nexus_tools::builtin::http::{Http, Resolve, Resolving};
use nexus_tools::builtin::{Builtins, CallContext};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const QUOTA: Quota = Quota {
    max_bytes: 100_000,
    max_entries: 40,
};

/// Names and what each question for them is answered with, in turn; the last answer stays.
#[derive(Clone, Default)]
pub(crate) struct Names(Arc<HashMap<String, Answers>>);

/// What a name is answered with, and how often it was asked for.
type Answers = (Vec<Vec<IpAddr>>, AtomicUsize);

impl Names {
    pub(crate) fn new(table: &[(&str, &[&[&str]])]) -> Self {
        let entry = |(name, answers): &(&str, &[&[&str]])| {
            let read = |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect();
            let answers = answers.iter().map(read).collect();
            ((*name).to_owned(), (answers, AtomicUsize::new(0)))
        };
        Self(Arc::new(table.iter().map(entry).collect()))
    }

    /// How often a name was asked for.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.0
            .get(name)
            .map_or(0, |(_, asked)| asked.load(Ordering::SeqCst))
    }
}

impl Resolve for Names {
    fn resolve(&self, name: &str) -> Resolving {
        let found = self.0.get(name).map(|(answers, asked)| {
            let turn = asked.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
            answers[turn].clone()
        });
        Box::pin(async move { found.ok_or_else(|| std::io::Error::other("no such name")) })
    }
}

pub(crate) struct Stand {
    pub(crate) builtins: Builtins,
    pub(crate) context: CallContext,
    pub(crate) workspaces: Workspaces,
    root: TempDir,
}

impl Stand {
    pub(crate) fn new(names: Names, permissions: Permissions) -> Self {
        let root = tempfile::tempdir().unwrap();
        let workspaces = Workspaces::open(&root.path().join("workspaces"), QUOTA).unwrap();
        let tenant: Tenant = "acme".parse().unwrap();
        let run_id = RunId::derive(&["one"]);
        let context = CallContext {
            workspace: workspaces.of(&tenant, run_id),
            tenant,
            run_id,
            call_id: "call".to_owned(),
            idempotency_key: "key-of-the-call".to_owned(),
            permissions,
            limits: ToolLimits::default(),
        };
        Self {
            builtins: Builtins::new(Http::new(names)),
            context,
            workspaces,
            root,
        }
    }

    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Result<Value, ToolError> {
        let answer = self.builtins.call(tool, &self.context, &arguments).await;
        answer.unwrap_or_else(|| panic!("{tool} is no tool"))
    }

    /// A place outside of every workspace.
    pub(crate) fn outside(&self) -> PathBuf {
        let place = self.root.path().join("outside");
        std::fs::create_dir_all(&place).unwrap();
        place
    }

    /// Where the run's files are on this machine.
    pub(crate) fn inside(&self) -> PathBuf {
        self.context.workspace.place().unwrap()
    }
}

pub(crate) fn network(hosts: &[String]) -> Permissions {
    Permissions {
        network: Some(NetworkPermissions {
            allowed_hosts: hosts.to_vec(),
            blocked_ips: vec!["203.0.113.*".to_owned(), "2d01::/16".to_owned()],
            max_response_size: Some(ByteSize::bytes(10_000)),
            timeout: Some(Span::from_millis(2_000)),
        }),
        ..Permissions::default()
    }
}

pub(crate) fn files(read: &[&str], write: &[&str], extensions: Option<&[&str]>) -> Permissions {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    Permissions {
        paths: Some(PathPermissions {
            read: owned(read),
            write: owned(write),
            execute: Vec::new(),
        }),
        max_file_size: Some(ByteSize::bytes(50_000)),
        allowed_extensions: extensions.map(owned),
        ..Permissions::default()
    }
}

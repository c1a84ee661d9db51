//! What the configuration says of tools.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nexus_devstack::{Cache, DataDir, Progress, find_python_wasi};
use nexus_events::tool::{ByteSize, ToolPermissions};
use nexus_mcp::{McpServerConfig, Servers};
use nexus_tools::builtin::files::Quota;
use nexus_tools::validate::OnSecret;
use nexus_tools::{FindPython, ToolsSettings};
use serde::Deserialize;
use tracing::info;

use crate::documents;
use crate::failure::Failure;

/// Tools.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ToolsConfig {
    /// Where runs keep their files, and compiled code is kept: `tools` in the data directory unless
    /// this says otherwise. Several processes of the tool role share it, or see different files.
    pub(crate) dir: Option<PathBuf>,
    /// Where compiled code is kept: `compiled` in `dir` unless this says otherwise. What is in it is
    /// executed.
    pub(crate) code_dir: Option<PathBuf>,
    /// A file of permissions (YAML, JSON or TOML): what built-in tools may touch beyond their
    /// defaults, and registered ones at most.
    pub(crate) permissions: Option<PathBuf>,
    /// What a run's files may take together.
    pub(crate) workspace_size: Option<ByteSize>,
    /// How many files and folders a run may have.
    pub(crate) workspace_entries: Option<usize>,
    /// What is done where a result holds what looks like a secret.
    pub(crate) secrets: Secrets,
    /// Whether e-mail addresses are secrets.
    pub(crate) redact_emails: bool,
    /// Calls of code at once.
    pub(crate) max_code_calls: Option<u32>,
    /// MCP servers whose tools may be imported.
    pub(crate) mcp: Vec<McpServerConfig>,
}

/// What is done where a result holds what looks like a secret.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Secrets {
    /// It is left out.
    #[default]
    Redact,
    /// The result is refused.
    Refuse,
    /// It is passed on.
    Keep,
}

impl ToolsConfig {
    /// Where a data directory keeps what belongs to tools.
    pub(crate) fn set_usual_dir(&mut self, data: &Path) {
        self.dir.get_or_insert_with(|| data.join("tools"));
    }

    /// As the role takes it.
    ///
    /// # Errors
    /// A folder or a file that cannot be used.
    pub(crate) fn settings(&self) -> Result<ToolsSettings, Failure> {
        let usual = || DataDir::usual_path().map(|data| data.join("tools"));
        let dir = self.dir.clone().or_else(usual).ok_or(Failure::NoDataDir)?;
        let defaults = Quota::default();
        let quota = Quota {
            max_bytes: self
                .workspace_size
                .map_or(defaults.max_bytes, ByteSize::get),
            max_entries: self.workspace_entries.unwrap_or(defaults.max_entries),
        };
        let failed = |source| Failure::Write {
            path: dir.clone(),
            source,
        };
        let mut settings = ToolsSettings::within(&dir, quota).map_err(failed)?;
        if let Some(path) = &self.permissions {
            settings.permissions = permissions(path)?;
        }
        if let Some(code) = &self.code_dir {
            settings.sandbox.cache_dir.clone_from(code);
        }
        if let Some(calls) = self.max_code_calls {
            settings.sandbox.max_calls = calls;
        }
        settings.secrets = match self.secrets {
            Secrets::Redact => OnSecret::Redact,
            Secrets::Refuse => OnSecret::Refuse,
            Secrets::Keep => OnSecret::Keep,
        };
        settings.emails = self.redact_emails;
        settings.python = python();
        let environment = |name: &str| std::env::var(name).ok();
        settings.servers = Arc::new(Servers::new(self.mcp.clone(), &environment)?);
        Ok(settings)
    }
}

/// Reads a document of permissions; one with a mistake is refused here, before it opens nothing.
fn permissions(path: &Path) -> Result<ToolPermissions, Failure> {
    let wrong = |reason: String| Failure::Permissions {
        path: path.to_owned(),
        reason,
    };
    let document = documents::read(path).map_err(wrong)?;
    let document: ToolPermissions =
        serde_json::from_value(document).map_err(|error| wrong(error.to_string()))?;
    for (name, entry) in &document.tools {
        let checked = entry.permissions.check();
        checked.map_err(|error| wrong(format!("{name}: {error}")))?;
    }
    Ok(document)
}

/// CPython for WASI, fetched when the first tool in Python is called.
fn python() -> FindPython {
    Arc::new(|| {
        Box::pin(async {
            let progress = Progress::new(|line: &str| info!("{line}"));
            let cache = Cache::discover().map_err(|error| error.to_string())?;
            let found = find_python_wasi(&cache, &progress).await;
            found.map_err(|error| format!("Python cannot be had: {error}"))
        })
    })
}

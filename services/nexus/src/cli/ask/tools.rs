//! `nexus tools`.

use std::path::PathBuf;

use nexus_events::{Problem, RunId};
use serde_json::{Value, json};

use super::tool_files::{self, Source};
use super::{Asker, body};
use crate::cli::error::CliError;
use crate::cli::fields;
use crate::cli::http::Request;
use crate::cli::print::hint;

/// Tools that models may call: those of the platform, and the tenant's own.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ToolsVerb {
    /// What a run gets by name
    List {
        /// Every version, the deprecated and removed ones too
        #[arg(long)]
        all: bool,
    },
    /// One tool with all its versions
    Show {
        /// Its name; `name@version` for one version with its definition
        tool: String,
    },
    /// Register a version, which never changes
    Register(RegisterArgs),
    /// Register tools of an MCP server of the configuration
    Import(ImportArgs),
    /// Give a version only to those who name it
    Deprecate(RetireArgs),
    /// Give a version to no further run; those that have it keep it
    Remove(RetireArgs),
    /// Call a tool once, as a run of its own without a model
    Invoke(InvokeArgs),
    /// Calls that may have taken effect or not, and wait for a word on it
    Doubts,
    /// Say what became of a call that is in doubt
    Resolve(ResolveArgs),
}

/// What is registered.
#[derive(Debug, clap::Args)]
pub(crate) struct RegisterArgs {
    /// The definition: TOML, JSON or YAML
    definition: PathBuf,
    /// The tool is this JavaScript
    #[arg(long, value_name = "FILE", conflicts_with_all = ["python", "wasm"])]
    javascript: Option<PathBuf>,
    /// The tool is this Python
    #[arg(long, value_name = "FILE", conflicts_with = "wasm")]
    python: Option<PathBuf>,
    /// The tool is this WebAssembly module
    #[arg(long, value_name = "FILE")]
    wasm: Option<PathBuf>,
    /// What it may touch: a file of permissions by tool, YAML, TOML or JSON
    #[arg(long, value_name = "FILE")]
    permissions: Option<PathBuf>,
}

/// What is imported.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// The server, as nexus.toml names it
    server: String,
    /// A tool, as the server names it; all that the configuration takes when none is named
    #[arg(long = "tool", value_name = "NAME")]
    tools: Vec<String>,
    /// The version that they get, instead of the server's own
    #[arg(long, value_name = "VERSION")]
    as_version: Option<String>,
}

/// Which version, and why.
#[derive(Debug, clap::Args)]
pub(crate) struct RetireArgs {
    /// The tool's name
    name: String,
    /// Its version
    version: String,
    /// Why, for the log
    #[arg(long)]
    reason: Option<String>,
}

/// What is called.
#[derive(Debug, clap::Args)]
pub(crate) struct InvokeArgs {
    /// Its name; `name@version` for a version that is not the default
    tool: String,
    /// The arguments, a JSON object
    #[arg(default_value = "{}", value_name = "JSON")]
    arguments: String,
    /// Come back when it is accepted, and not with its result
    #[arg(long)]
    no_wait: bool,
}

/// What became of a call.
#[derive(Debug, clap::Args)]
pub(crate) struct ResolveArgs {
    /// The run
    run_id: RunId,
    /// The call
    call_id: String,
    /// What became of it
    #[arg(value_enum, value_name = "done|failed|retry")]
    resolution: As,
    /// With `done`: its result, as JSON
    #[arg(long, value_name = "JSON", required_if_eq("resolution", "done"))]
    output: Option<String>,
    /// Why, for the log; with `failed`, for the model too
    #[arg(long)]
    reason: Option<String>,
    /// Which start you saw in doubt: refused where it is another by now
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum As {
    /// It took effect
    Done,
    /// It did not, and is not to be tried again
    Failed,
    /// It is to be executed once more
    Retry,
}

impl As {
    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Retry => "retry",
        }
    }
}

impl ToolsVerb {
    /// Does it.
    ///
    /// # Errors
    /// [`CliError`].
    pub(crate) async fn run(self, asker: &Asker) -> Result<(), CliError> {
        match self {
            Self::List { all } => {
                let query = vec![("all", all.then(|| "true".to_owned()))];
                asker.list(&["v1", "tools"], query, fields::TOOLS).await
            }
            Self::Show { tool } => show(asker, &tool).await,
            Self::Register(args) => args.run(asker).await,
            Self::Import(args) => args.run(asker).await,
            Self::Deprecate(args) => args.run(asker, "deprecate", "is deprecated").await,
            Self::Remove(args) => args.run(asker, "remove", "is removed").await,
            Self::Invoke(args) => args.run(asker).await,
            Self::Doubts => {
                let query = vec![("status", Some("in_doubt".to_owned()))];
                asker
                    .list(&["v1", "tool-calls"], query, fields::DOUBTS)
                    .await
            }
            Self::Resolve(args) => args.run(asker).await,
        }
    }
}

async fn show(asker: &Asker, tool: &str) -> Result<(), CliError> {
    let Some((name, version)) = tool.split_once('@') else {
        let answer = asker.get(&["v1", "tools", tool]).await?;
        asker.output.one(fields::TOOL_VERSIONS, &answer)?;
        let versions = answer.get("versions");
        return asker.output.part("Versions", fields::TOOLS, versions);
    };
    let answer = asker
        .get(&["v1", "tools", name, "versions", version])
        .await?;
    asker.output.one(fields::TOOL, &answer)
}

impl RegisterArgs {
    async fn run(self, asker: &Asker) -> Result<(), CliError> {
        let source = match (self.javascript, self.python, self.wasm) {
            (Some(path), _, _) => Some(Source::Javascript(path)),
            (_, Some(path), _) => Some(Source::Python(path)),
            (_, _, Some(path)) => Some(Source::Wasm(path)),
            (None, None, None) => None,
        };
        let definition =
            tool_files::definition(&self.definition, source, self.permissions.as_deref())?;
        let answer = asker
            .post(&["v1", "tools"], &Value::Object(definition))
            .await?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
        let (name, version, digest) = (text("name"), text("version"), text("digest"));
        asker
            .output
            .done(&format!("{name}@{version} {digest}"), &answer)
    }
}

impl ImportArgs {
    async fn run(self, asker: &Asker) -> Result<(), CliError> {
        let body = body([
            ("server", Some(json!(self.server))),
            ("tools", Some(json!(self.tools))),
            ("version", self.as_version.map(Value::from)),
        ]);
        let answer = asker.post(&["v1", "tools", "import"], &body).await?;
        let server = &self.server;
        if answer.get("seq").is_none_or(Value::is_null) {
            let sentence = format!("{server} is asked for its tools; see: nexus tools list");
            return asker.output.done(&sentence, &answer);
        }
        let count = |part: &str| {
            answer
                .get(part)
                .and_then(Value::as_array)
                .map_or(0, Vec::len)
        };
        let (tools, refused) = (count("tools"), count("refused"));
        let sentence = format!("{tools} tools of {server} can be had, {refused} are refused");
        asker.output.done(&sentence, &answer)?;
        let (taken, left) = (answer.get("tools"), answer.get("refused"));
        asker.output.part("Tools", fields::IMPORTED, taken)?;
        asker.output.part("Refused", fields::REFUSED, left)
    }
}

impl RetireArgs {
    async fn run(self, asker: &Asker, verb: &str, what: &str) -> Result<(), CliError> {
        let Self {
            name,
            version,
            reason,
        } = self;
        let path = ["v1", "tools", &name, "versions", &version, verb];
        let body = body([("reason", reason.map(Value::from))]);
        let answer = asker.post(&path, &body).await?;
        asker
            .output
            .done(&format!("{name}@{version} {what}"), &answer)
    }
}

impl InvokeArgs {
    async fn run(self, asker: &Asker) -> Result<(), CliError> {
        let arguments = serde_json::from_str::<Value>(&self.arguments)
            .map_err(|error| CliError::Usage(format!("the arguments are no JSON: {error}")))?;
        let (name, version) = match self.tool.split_once('@') {
            Some((name, version)) => (name.to_owned(), version.to_owned()),
            None => (self.tool.clone(), default_version(asker, &self.tool).await?),
        };
        let path = ["v1", "tools", &name, "versions", &version, "invoke"];
        let started = asker
            .post(&path, &json!({ "arguments": arguments }))
            .await?;
        let run_id = started.get("run_id").and_then(Value::as_str);
        let run_id = run_id.unwrap_or_default().to_owned();
        if self.no_wait {
            let sentence = format!("{name}@{version} is called by run {run_id}");
            return asker.output.done(&sentence, &started);
        }
        let run = ended(asker, &run_id).await?;
        asker.output.one(fields::INVOKED, &run)?;
        let text = |name: &str| run.get(name).and_then(Value::as_str);
        if text("status") == Some("completed") {
            return Ok(());
        }
        let code = text("error_code").unwrap_or("cancelled");
        let why = text("error_message").unwrap_or("it was cancelled");
        Err(CliError::Problem(Box::new(Problem::new(422, code, why))))
    }
}

async fn default_version(asker: &Asker, name: &str) -> Result<String, CliError> {
    let tool = asker.get(&["v1", "tools", name]).await?;
    let version = tool.get("default_version").and_then(Value::as_str);
    version.map(str::to_owned).ok_or_else(|| {
        CliError::Usage(format!(
            "no version of {name} can be had by name alone; see: nexus tools show {name}"
        ))
    })
}

/// The run once it has ended; nothing is lost where somebody stops waiting.
async fn ended(asker: &Asker, run_id: &str) -> Result<Value, CliError> {
    let mut told = false;
    loop {
        let request = Request {
            path: &["v1", "runs", run_id],
            query: &[("wait", Some("30s".to_owned()))],
            ..Request::default()
        };
        let run: Value = asker.gateway.get(request).await?;
        let status = run.get("status").and_then(Value::as_str);
        if let Some("completed" | "failed" | "cancelled") = status {
            return Ok(run);
        }
        if !told {
            let status = status.unwrap_or("accepted");
            hint(&format!(
                "run {run_id} is {status}; see: nexus runs show {run_id}"
            ));
            told = true;
        }
    }
}

impl ResolveArgs {
    async fn run(self, asker: &Asker) -> Result<(), CliError> {
        let output = self.output.as_deref().map(|text| {
            serde_json::from_str::<Value>(text)
                .map_err(|error| CliError::Usage(format!("--output is no JSON: {error}")))
        });
        let (run_id, what) = (self.run_id.to_string(), self.resolution.as_str());
        let body = body([
            ("as", Some(json!(what))),
            ("output", output.transpose()?),
            ("reason", self.reason.map(Value::from)),
            ("attempt", self.attempt.map(Value::from)),
        ]);
        let path = [
            "v1",
            "runs",
            &run_id,
            "tool-calls",
            &self.call_id,
            "resolve",
        ];
        let answer = asker.post(&path, &body).await?;
        let sentence = format!(
            "{} is resolved as {what}; watch the run: nexus watch {run_id}",
            self.call_id
        );
        asker.output.done(&sentence, &answer)
    }
}

//! Tools that are code: components, WASI commands, JavaScript and Python, in the sandbox, which is
//! made when the first of them is called. What they may do is their permissions; their requests are
//! made by the same code as those of `http_request`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hashlink::LruCache;
use nexus_bus::objects::Objects;
use nexus_events::tool::path::WORKSPACE;
use nexus_events::tool::{Permissions, ToolDefinition, ToolKind};
use nexus_events::{Body, Tenant};
use nexus_sandbox::{
    BoxFuture, CallError, CallLimits, Fault, Guest, HttpBroker, HttpRequest, HttpResponse,
    LoadError, Module, Output, Quota, Sandbox, Workspace,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell};

use super::{Call, Executor, Outcome};
use crate::builtin::http::Http;
use crate::builtin::{CallContext, read as read_arguments};
use crate::settings::{FindPython, ToolsSettings};

/// Tools whose compiled code is remembered by their digest.
const REMEMBERED: usize = 128;
/// Characters of what a guest printed that a model is told.
const MOST_PRINTED_CHARS: usize = 4_000;
/// Methods that code of a call may use: it may be executed again.
const ONLY_ASKS: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// Runs tools that are code.
pub(crate) struct Guests {
    settings: ToolsSettings,
    objects: Objects,
    http: Http,
    sandbox: OnceCell<Sandbox>,
    modules: Mutex<LruCache<String, Arc<Module>>>,
}

/// What `code_execution` is called with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeArguments {
    language: String,
    code: String,
    #[serde(default)]
    input: Value,
}

impl CodeArguments {
    /// As the sandbox takes it; none for a language that it does not know.
    fn guest(&self) -> Option<Guest> {
        match self.language.as_str() {
            "javascript" => Some(Guest::JavaScript(self.code.clone())),
            "python" => Some(Guest::Python(self.code.clone())),
            _ => None,
        }
    }
}

impl Guests {
    pub(crate) fn new(settings: ToolsSettings, objects: Objects, http: Http) -> Self {
        Self {
            settings,
            objects,
            http,
            sandbox: OnceCell::new(),
            modules: Mutex::new(LruCache::new(REMEMBERED)),
        }
    }

    /// Whether a guest can be loaded: asked when a tool is registered.
    pub(crate) async fn check(&self, guest: Guest) -> Result<(), LoadError> {
        let sandbox = self.sandbox().await.map_err(LoadError::Sandbox)?;
        sandbox.load(guest).await.map(drop)
    }

    /// Has code compiled before its time begins to run: an interpreter's first takes seconds. What is
    /// wrong with it is said when it is called.
    pub(super) async fn prepare(
        &self,
        tenant: &Tenant,
        definition: &ToolDefinition,
        digest: &str,
        arguments: &Value,
    ) {
        let guest = match (&definition.kind, CodeArguments::deserialize(arguments)) {
            (ToolKind::Builtin, Ok(code)) => code.guest(),
            (ToolKind::Builtin, Err(_)) => None,
            _ => {
                let _ = self.module(tenant, definition, digest).await;
                return;
            }
        };
        if let Some(guest) = guest {
            let _ = self.load(guest).await;
        }
    }

    /// Executes `code_execution`.
    pub(super) async fn call_code(&self, call: &Call<'_>) -> Outcome {
        let arguments: CodeArguments = match read_arguments(call.arguments) {
            Ok(arguments) => arguments,
            Err(error) => return Outcome::from(Err(error)),
        };
        let permissions = &call.context.permissions;
        let language = &arguments.language;
        if !permissions.languages.contains(language) {
            let known = permissions.languages.join(", ");
            let message = format!("{language:?} is not allowed here, only [{known}]");
            return Outcome::failed("denied", message);
        }
        let Some(guest) = arguments.guest() else {
            return Outcome::failed("denied", format!("there is no {language:?} here"));
        };
        let module = match self.load(guest).await {
            Ok(module) => module,
            Err(refused) => return refused,
        };
        match self.run(call, &module, &arguments.input, true).await {
            Ok(Output { value, traces }) => {
                let printed: String = last_chars(&traces.printed, MOST_PRINTED_CHARS);
                Outcome::Done(json!({ "result": value, "printed": printed }))
            }
            Err(error) => failed(&error),
        }
    }

    async fn run(
        &self,
        call: &Call<'_>,
        module: &Arc<Module>,
        input: &Value,
        only_asks: bool,
    ) -> Result<Output, CallError> {
        let permissions = &call.context.permissions;
        let speaks = permissions.words().contains(&"network");
        let network = speaks.then(|| {
            let broker: Arc<dyn HttpBroker> = Arc::new(Broker {
                http: self.http.clone(),
                context: call.context.clone(),
                only_asks,
                sent: AtomicU32::new(0),
            });
            broker
        });
        let limits = CallLimits {
            cpu: permissions.cpu_time().duration(),
            wall: call.time,
            memory: permissions.memory().get(),
            output: call.definition.limits.max_output_bytes,
            ..CallLimits::default()
        };
        let asked = nexus_sandbox::Call {
            input: input.to_string(),
            limits,
            workspace: workspace(call.context),
            network,
        };
        match self.sandbox().await {
            Ok(sandbox) => sandbox.call(module, asked).await,
            Err(reason) => Err(CallError {
                fault: Fault::Sandbox(reason),
                traces: nexus_sandbox::Traces::default(),
            }),
        }
    }

    /// The code of a registered tool, ready to be called.
    async fn module(
        &self,
        tenant: &Tenant,
        definition: &ToolDefinition,
        digest: &str,
    ) -> Result<Arc<Module>, Outcome> {
        if let Some(module) = self.modules.lock().await.get(digest) {
            return Ok(Arc::clone(module));
        }
        let guest = self.guest(tenant, definition).await?;
        let module = self.load(guest).await?;
        let mut modules = self.modules.lock().await;
        modules.insert(digest.to_owned(), Arc::clone(&module));
        Ok(module)
    }

    async fn guest(&self, tenant: &Tenant, definition: &ToolDefinition) -> Result<Guest, Outcome> {
        let (body, make): (&Body, fn(String) -> Option<Guest>) = match &definition.kind {
            ToolKind::Wasm { module } => (module, wasm),
            ToolKind::Javascript { source } => (source, |text| Some(Guest::JavaScript(text))),
            ToolKind::Python { source } => (source, |text| Some(Guest::Python(text))),
            ToolKind::Builtin | ToolKind::Mcp { .. } | ToolKind::Nats => {
                return Err(Outcome::failed("not_executable", "the tool is no code"));
            }
        };
        let text = self.objects.resolve(tenant, body).await;
        let text = text.map_err(|error| Outcome::failed("tool_failed", error.to_string()))?;
        make(text).ok_or_else(|| Outcome::failed("not_executable", "the module is not base64"))
    }

    async fn load(&self, guest: Guest) -> Result<Arc<Module>, Outcome> {
        let refused = |error: LoadError| Outcome::failed("not_executable", error.to_string());
        if matches!(guest, Guest::Python(_)) {
            self.have_python().await?;
        }
        let sandbox = self.sandbox().await;
        let sandbox = sandbox.map_err(|reason| Outcome::failed("sandbox_failed", reason))?;
        sandbox.load(guest).await.map_err(refused)
    }

    async fn have_python(&self) -> Result<(), Outcome> {
        let slot = &self.settings.sandbox.python;
        if slot.get().is_some() {
            return Ok(());
        }
        let find: &FindPython = &self.settings.python;
        let found = find().await;
        let path = found.map_err(|reason| Outcome::failed("no_interpreter", reason))?;
        let _ = slot.set(path);
        Ok(())
    }

    async fn sandbox(&self) -> Result<&Sandbox, String> {
        let config = self.settings.sandbox.clone();
        let make = || async { Sandbox::new(config).map_err(|error| error.to_string()) };
        self.sandbox.get_or_try_init(make).await
    }
}

impl Executor for Guests {
    async fn call(&self, call: &Call<'_>) -> Outcome {
        let module = match self.module(call.tenant, call.definition, call.digest).await {
            Ok(module) => module,
            Err(refused) => return refused,
        };
        match self.run(call, &module, call.arguments, false).await {
            Ok(Output { value, .. }) => Outcome::Done(value),
            Err(error) => failed(&error),
        }
    }
}

/// A module as it is registered.
pub(crate) fn wasm(text: String) -> Option<Guest> {
    STANDARD.decode(text.trim()).ok().map(Guest::Wasm)
}

fn failed(error: &CallError) -> Outcome {
    let printed = last_chars(&error.traces.printed, MOST_PRINTED_CHARS);
    let message = match printed.trim() {
        "" => error.to_string(),
        printed => format!("{error}. It printed: {printed}"),
    };
    Outcome::failed(error.code(), message)
}

fn last_chars(text: &str, most: usize) -> String {
    let count = text.chars().count();
    text.chars().skip(count.saturating_sub(most)).collect()
}

/// The run's files, where the tool may have all of them: code sees a folder or none.
fn workspace(context: &CallContext) -> Option<Workspace> {
    let Permissions { paths, .. } = &context.permissions;
    let everything = |patterns: &[String]| {
        (patterns.iter()).any(|pattern| {
            let rest = pattern.strip_prefix(WORKSPACE);
            matches!(rest, Some("/*" | "/**"))
        })
    };
    let paths = paths.as_ref().filter(|paths| everything(&paths.read))?;
    let quota = everything(&paths.write).then(|| {
        let kept = context.workspace.quota();
        Quota {
            bytes: kept.max_bytes,
            entries: u32::try_from(kept.max_entries).unwrap_or(u32::MAX),
            file_bytes: context.permissions.file_size().get(),
        }
    });
    Some(Workspace {
        dir: context.workspace.place().ok()?,
        quota,
    })
}

/// Makes the requests of one call.
struct Broker {
    http: Http,
    context: CallContext,
    only_asks: bool,
    sent: AtomicU32,
}

impl HttpBroker for Broker {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, String>> {
        Box::pin(async move {
            let method = request.method.to_ascii_uppercase();
            if self.only_asks && !ONLY_ASKS.contains(&method.as_str()) {
                return Err(format!(
                    "{method}: code may only ask, with GET, HEAD or OPTIONS"
                ));
            }
            let body = String::from_utf8(request.body).map_err(|_| "a body is text")?;
            let headers: serde_json::Map<String, Value> = (request.headers.into_iter())
                .map(|(name, value)| (name, value.into()))
                .collect();
            let mut arguments = json!({
                "url": request.url, "method": method, "headers": headers,
            });
            if !body.is_empty() {
                arguments["body"] = body.into();
            }
            // Requests of one call are different ones, and the same when it is executed again.
            let mut context = self.context.clone();
            let nth = self.sent.fetch_add(1, Ordering::Relaxed);
            context.idempotency_key = format!("{}/{nth}", context.idempotency_key);
            let answer = self.http.call(&context, &arguments).await;
            response(answer.map_err(|error| error.message)?)
        })
    }
}

fn response(answer: Value) -> Result<HttpResponse, String> {
    if answer["truncated"] == true {
        return Err("the answer is larger than it may be".to_owned());
    }
    let body = match (&answer["body"], &answer["body_base64"]) {
        (Value::String(text), _) => text.clone().into_bytes(),
        (_, Value::String(coded)) => STANDARD.decode(coded).map_err(|error| error.to_string())?,
        _ => vec![],
    };
    let headers = answer["headers"].as_object().into_iter().flatten();
    Ok(HttpResponse {
        status: answer["status"]
            .as_u64()
            .and_then(|status| status.try_into().ok())
            .unwrap_or(0),
        headers: headers
            .map(|(name, value)| {
                let value = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                (name.clone(), value)
            })
            .collect(),
        body,
    })
}

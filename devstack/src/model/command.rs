//! Which program serves the model, and how it is called.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::LocalModelOptions;
use crate::parts::{MODEL_RUNTIME, MODEL_WEIGHTS};
use crate::python::{self, Wanted};
use crate::{Cache, DevstackError, Progress, Result, Version, files, process};

const SCRIPT: &str = include_str!("serve.py");
const VARIABLE: &str = "NEXUS_MODEL_FILE";
/// The extension is built for this version's stable interface and newer ones.
const PYTHON_AT_LEAST: Version = Version::new(3, 10, 0);

/// A program that can serve the model, and the model.
pub(super) struct Server {
    runtime: Runtime,
    model: PathBuf,
    name: String,
}

enum Runtime {
    LlamaServer(PathBuf),
    Python { python: PathBuf, library: PathBuf },
}

impl Server {
    /// Finds or fetches both.
    pub(super) async fn find(cache: &Cache, progress: &Progress) -> Result<Self> {
        let runtime = match files::on_path("llama-server") {
            Some(program) => Runtime::LlamaServer(program),
            None => find_python_runtime(cache, progress).await?,
        };
        let model = match model_override()? {
            Some(file) => file,
            None => cache.fetch_weights(&MODEL_WEIGHTS, progress).await?,
        };
        let name = model
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Ok(Self {
            runtime,
            model,
            name,
        })
    }

    pub(super) fn model_name(&self) -> &str {
        &self.name
    }

    pub(super) fn program(&self) -> &Path {
        match &self.runtime {
            Runtime::LlamaServer(program) => program,
            Runtime::Python { python, .. } => python,
        }
    }

    /// The command, and the port if it is known beforehand.
    pub(super) fn command(
        &self,
        cache: &Cache,
        options: &LocalModelOptions,
        log: &Path,
    ) -> Result<(Command, Option<u16>)> {
        let (threads, context) = (options.threads.to_string(), options.context.to_string());
        let mut command = process::server(self.program(), "KILL", None);
        let output = files::open_log(log, u64::MAX)?;
        match &self.runtime {
            Runtime::LlamaServer(_) => {
                let port = process::free_port()?;
                command
                    .arg("-m")
                    .arg(&self.model)
                    .args(["--alias", &self.name]);
                command.args([
                    "--host",
                    "127.0.0.1",
                    "--port",
                    &port.to_string(),
                    "--jinja",
                ]);
                command.args(["-c", &context, "-t", &threads, "-np", "1"]);
                process::print_to(&mut command, output, log)?;
                Ok((command, Some(port)))
            }
            Runtime::Python { library, .. } => {
                // -I: neither the environment nor the current directory can slip a module in.
                command
                    .arg("-I")
                    .arg(write_script(cache)?)
                    .arg(library)
                    .arg(&self.model);
                command.args([&self.name, &threads, &context]);
                command
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(output);
                Ok((command, None))
            }
        }
    }
}

/// Whether both are there.
pub(super) fn is_installed(cache: &Cache) -> bool {
    let runtime =
        files::on_path("llama-server").is_some() || cache.ready(&MODEL_RUNTIME.key()).is_some();
    let model = matches!(model_override(), Ok(Some(_))) || cache.weights(&MODEL_WEIGHTS).is_some();
    runtime && model
}

async fn find_python_runtime(cache: &Cache, progress: &Progress) -> Result<Runtime> {
    let wanted = Wanted {
        part: MODEL_RUNTIME.name,
        help: MODEL_RUNTIME.help,
    };
    let python = python::find(wanted, PYTHON_AT_LEAST).await?;
    let library = cache.fetch(&MODEL_RUNTIME, progress).await?;
    Ok(Runtime::Python { python, library })
}

fn model_override() -> Result<Option<PathBuf>> {
    let Some(value) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let path = PathBuf::from(value);
    let path = std::path::absolute(&path).unwrap_or(path);
    if path.is_file() {
        return Ok(Some(path));
    }
    let why = "there is no such file".to_owned();
    Err(DevstackError::BadOverride {
        variable: VARIABLE,
        path,
        why,
    })
}

/// Puts the script into the cache, under a name that has its digest in it: another process may be
/// of another version.
fn write_script(cache: &Cache) -> Result<PathBuf> {
    use sha2::{Digest, Sha256};
    let digest = hex::encode(Sha256::digest(SCRIPT));
    let path = cache
        .dir()
        .join(format!("serve-{}.py", digest.get(..12).unwrap_or(&digest)));
    if files::read_short(&path).is_ok_and(|text| text == SCRIPT) {
        return Ok(path);
    }
    let work = path.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&work, SCRIPT).map_err(DevstackError::io("write", &work))?;
    std::fs::rename(&work, &path).map_err(DevstackError::io("rename into place", &path))?;
    Ok(path)
}

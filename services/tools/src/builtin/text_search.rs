//! `text_search`: a regular expression over a text, or over files of the workspace. The engine takes
//! linear time on any pattern; what is left to bound is how large a pattern may grow and how much is
//! read.

use std::time::Instant;

use nexus_events::tool::{PathRules, WorkspacePath};
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{CallContext, Workspace, blocking, error, files, read};
use crate::ToolError;

const MAX_PATTERN: usize = 512;
const COMPILED_BYTES: usize = 256 << 10;
const MAX_FILES: usize = 1000;
const MAX_READ: usize = 16 << 20;
const MAX_MATCHES: usize = 1000;
/// Of a line that is shown.
const SHOWN: usize = 300;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    pattern: String,
    text: Option<String>,
    path: Option<String>,
    #[serde(default)]
    ignore_case: bool,
    #[serde(default = "hundred")]
    max_matches: usize,
}

fn hundred() -> usize {
    100
}

/// `{"pattern", "text" | "path"}` gives the lines that match.
pub(crate) async fn call(context: &CallContext, arguments: &Value) -> Result<Value, ToolError> {
    let given: Arguments = read(arguments)?;
    let pattern = compile(&given.pattern, given.ignore_case)?;
    let mut search = Search {
        pattern,
        most: given.max_matches.min(MAX_MATCHES),
        // What is not done by then is not waited for either.
        until: Instant::now() + context.limits.timeout.duration(),
        found: Vec::new(),
        truncated: false,
    };
    let source = match (given.text, given.path) {
        (Some(text), None) => Source::Text(text),
        (None, Some(path)) => Source::Files(files::path(&path)?, files::rules(context)?),
        _ => return Err(ToolError::arguments("give text or path, one of them")),
    };
    let workspace = context.workspace.clone();
    let most = context.permissions.file_size().get();
    blocking(context, move || {
        match source {
            Source::Text(text) => search.text(None, &text)?,
            Source::Files(path, rules) => search.files(&workspace, &path, &rules, most)?,
        }
        Ok(json!({ "matches": search.found, "truncated": search.truncated }))
    })
    .await
}

enum Source {
    Text(String),
    Files(WorkspacePath, PathRules),
}

fn compile(pattern: &str, ignore_case: bool) -> Result<Regex, ToolError> {
    if pattern.is_empty() || pattern.len() > MAX_PATTERN {
        return Err(ToolError::arguments(format!(
            "the pattern has not 1 to {MAX_PATTERN} bytes"
        )));
    }
    RegexBuilder::new(pattern)
        .case_insensitive(ignore_case)
        .size_limit(COMPILED_BYTES)
        .dfa_size_limit(1 << 20)
        .nest_limit(32)
        .build()
        .map_err(|cause| ToolError::arguments(format!("the pattern: {cause}")))
}

struct Search {
    pattern: Regex,
    most: usize,
    until: Instant,
    found: Vec<Value>,
    truncated: bool,
}

impl Search {
    /// A file, or every file of a folder that may be read and is text.
    fn files(
        &mut self,
        workspace: &Workspace,
        path: &WorkspacePath,
        rules: &PathRules,
        most: u64,
    ) -> Result<(), ToolError> {
        if rules.read(path).is_ok() {
            match workspace.read(path, most) {
                Ok(bytes) => return self.text(Some(path), &String::from_utf8_lossy(&bytes)),
                Err(cause) if rules.list(path).is_err() => return Err(cause.into()),
                Err(files::WorkspaceError::NotThat(..)) => {}
                Err(cause) => return Err(cause.into()),
            }
        }
        rules.list(path)?;
        let wanted = |path: &WorkspacePath, is_folder: bool| {
            let asked = if is_folder {
                rules.list(path)
            } else {
                rules.read(path)
            };
            asked.is_ok()
        };
        let (entries, more) = workspace.list(path, true, MAX_FILES, &wanted)?;
        self.truncated |= more;
        let mut read = 0;
        for entry in entries.iter().filter(|entry| entry.size.is_some()) {
            if self.is_full() || read > MAX_READ {
                self.truncated = true;
                break;
            }
            // Too large, or gone meanwhile: the others are searched all the same.
            let Ok(bytes) = workspace.read(&entry.path, most) else {
                self.truncated = true;
                continue;
            };
            read += bytes.len();
            if let Ok(text) = std::str::from_utf8(&bytes) {
                self.text(Some(&entry.path), text)?;
            }
        }
        Ok(())
    }

    fn text(&mut self, path: Option<&WorkspacePath>, text: &str) -> Result<(), ToolError> {
        for (number, line) in text.lines().enumerate() {
            if Instant::now() > self.until {
                return Err(error("timeout", "the search took longer than it may"));
            }
            let Some(hit) = self.pattern.find(line) else {
                continue;
            };
            if self.is_full() {
                self.truncated = true;
                break;
            }
            self.found.push(shown(path, number + 1, line, hit.start()));
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.found.len() >= self.most
    }
}

fn shown(path: Option<&WorkspacePath>, line: usize, text: &str, start: usize) -> Value {
    let from = text.floor_char_boundary(start.saturating_sub(SHOWN / 3));
    let text: String = text
        .get(from..)
        .unwrap_or_default()
        .chars()
        .take(SHOWN)
        .collect();
    match path {
        Some(path) => json!({ "path": path.to_string(), "line": line, "text": text }),
        None => json!({ "line": line, "text": text }),
    }
}

//! Definitions of tools and their permissions in files.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nexus_events::tool::ToolPermissions;
use serde_json::{Map, Value, json};

use crate::cli::error::CliError;
use crate::documents;

/// Of what a tool is made of.
const MOST_SOURCE_BYTES: u64 = 16 << 20;

/// What a tool is made of.
pub(super) enum Source {
    Javascript(PathBuf),
    Python(PathBuf),
    Wasm(PathBuf),
}

/// A definition as the platform takes it.
pub(super) fn definition(
    path: &Path,
    source: Option<Source>,
    permissions: Option<&Path>,
) -> Result<Map<String, Value>, CliError> {
    let Value::Object(mut definition) = document(path)? else {
        return Err(wrong(path, "must be a table of a tool's fields"));
    };
    match source {
        Some(Source::Javascript(path)) => {
            definition.insert("kind".to_owned(), json!("javascript"));
            definition.insert("source".to_owned(), json!(text(&path, MOST_SOURCE_BYTES)?));
        }
        Some(Source::Python(path)) => {
            definition.insert("kind".to_owned(), json!("python"));
            definition.insert("source".to_owned(), json!(text(&path, MOST_SOURCE_BYTES)?));
        }
        Some(Source::Wasm(path)) => {
            let module = STANDARD.encode(read(&path, MOST_SOURCE_BYTES)?);
            definition.insert("kind".to_owned(), json!("wasm"));
            definition.insert("module".to_owned(), json!(module));
        }
        None => {}
    }
    if let Some(path) = permissions {
        let name = definition
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let permissions = permissions_of(path, name)?;
        definition.insert("permissions".to_owned(), permissions);
    }
    Ok(definition)
}

/// What a file of permissions says of a tool.
fn permissions_of(path: &Path, name: &str) -> Result<Value, CliError> {
    let mut document: ToolPermissions = serde_json::from_value(document(path)?)
        .map_err(|error| wrong(path, &format!("holds no permissions: {error}")))?;
    let found = document.tools.remove(name).ok_or_else(|| {
        let known: Vec<_> = document.tools.keys().map(String::as_str).collect();
        let known = known.join(", ");
        wrong(path, &format!("says nothing of {name:?}; it knows {known}"))
    })?;
    Ok(json!(found.permissions))
}

/// A document in whichever form its name says, as JSON.
fn document(path: &Path) -> Result<Value, CliError> {
    documents::read(path).map_err(|reason| wrong(path, &reason))
}

fn text(path: &Path, most: u64) -> Result<String, CliError> {
    String::from_utf8(read(path, most)?).map_err(|_| wrong(path, "is not UTF-8"))
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, CliError> {
    let cannot = || CliError::io(format!("cannot read {}", path.display()));
    let about = fs::metadata(path).map_err(cannot())?;
    if about.len() > most {
        return Err(wrong(path, &format!("has more than {most} bytes")));
    }
    fs::read(path).map_err(cannot())
}

fn wrong(path: &Path, what: &str) -> CliError {
    CliError::Usage(format!("{} {what}", path.display()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    const PERMISSIONS: &str = r#"
# The form of a tool's permissions. Absent means denied.
tools:
  http_request:
    permissions:
      network:
        allowed_hosts: ["api.example.com", "*.safe-domain.com"]
        blocked_ips: ["127.0.0.1", "192.168.*", "10.*"]
        max_response_size: "10MB"
        timeout: "30s"
  code_execution:
    permissions:
      languages: ["python", "javascript"]
      max_cpu_time: "10s"
      network_access: false
"#;

    fn file(dir: &tempfile::TempDir, name: &str, content: &str) -> PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    #[test]
    fn permissions_are_read_in_the_form_that_people_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir, "permissions.yaml", PERMISSIONS);
        let found = permissions_of(&path, "http_request").unwrap();
        assert_eq!(found["network"]["max_response_size"], "10MB");
        assert_eq!(found["network"]["allowed_hosts"][1], "*.safe-domain.com");
        let missing = permissions_of(&path, "file_system").unwrap_err();
        assert!(missing.to_string().contains("code_execution"), "{missing}");
        let path = file(
            &dir,
            "bad.yaml",
            "tools: { a: { permissions: { netwrok: 1 } } }",
        );
        let unknown = permissions_of(&path, "a").unwrap_err();
        assert!(unknown.to_string().contains("netwrok"), "{unknown}");
    }

    #[test]
    fn a_definition_is_put_together_from_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(
            &dir,
            "slug.toml",
            "name = \"slug\"\n[limits]\ntimeout = \"2s\"\n",
        );
        let source = file(&dir, "slug.js", "export default 1");
        let permissions = file(
            &dir,
            "permissions.json",
            r#"{ "tools": { "slug": { "permissions": { "max_cpu_time": "1s" } } } }"#,
        );
        let source = Some(Source::Javascript(source));
        let found = definition(&path, source, Some(&permissions)).unwrap();
        let expected = json!({
            "name": "slug", "kind": "javascript", "source": "export default 1",
            "limits": { "timeout": "2s" }, "permissions": { "max_cpu_time": "1s" },
        });
        assert_eq!(Value::Object(found), expected);
        let module = file(&dir, "slug.wasm", "\0asm");
        let found = definition(&path, Some(Source::Wasm(module)), None).unwrap();
        assert_eq!(found["module"], "AGFzbQ==");
        assert!(definition(&dir.path().join("none.toml"), None, None).is_err());
        assert!(definition(&file(&dir, "list.json", "[]"), None, None).is_err());
    }
}

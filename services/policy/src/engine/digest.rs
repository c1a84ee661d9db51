//! A bundle's name: a digest over a form that does not depend on order or formatting of JSON.

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::source::Module;

/// `sha256:…` over the modules sorted by path, each part preceded by its length, and the data.
pub(crate) fn digest(sources: &[Module], canonical_data: &str) -> String {
    let mut sorted: Vec<&Module> = sources.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    let mut hash = Sha256::new();
    hash.update(b"nexus-policy-bundle/1\n");
    hash.update((sorted.len() as u64).to_be_bytes());
    for module in sorted {
        part(&mut hash, &module.path);
        part(&mut hash, &module.text);
    }
    part(&mut hash, canonical_data);
    format!("sha256:{}", hex::encode(hash.finalize()))
}

fn part(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text.as_bytes());
}

/// JSON with sorted keys and without spaces; `None` if nested deeper than `depth`.
///
/// `serde_json` keeps keys sorted only while no crate in the build asks it to keep their order.
pub(crate) fn canonical(json: &Json, depth: usize) -> Option<String> {
    let mut out = String::new();
    write(json, depth, &mut out)?;
    Some(out)
}

fn write(json: &Json, depth: usize, out: &mut String) -> Option<()> {
    match json {
        Json::Array(items) => {
            let depth = depth.checked_sub(1)?;
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                separate(index, out);
                write(item, depth, out)?;
            }
            out.push(']');
        }
        Json::Object(fields) => {
            let depth = depth.checked_sub(1)?;
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by(|a, b| a.0.cmp(b.0));
            out.push('{');
            for (index, (key, field)) in sorted.into_iter().enumerate() {
                separate(index, out);
                out.push_str(&Json::from(key.as_str()).to_string());
                out.push(':');
                write(field, depth, out)?;
            }
            out.push('}');
        }
        leaf => out.push_str(&leaf.to_string()),
    }
    Some(())
}

fn separate(index: usize, out: &mut String) {
    if index > 0 {
        out.push(',');
    }
}

//! Reads modules in whichever dialect of Rego they are written.
//!
//! Policies in the wild come as v1, as v0, and as v0 that uses `in` without importing it (much
//! documentation shows it so). Asking the author to say which would turn away policies that work
//! elsewhere; so each module is tried in turn and the bundle says which dialect it took. The
//! import is added on the line of the package clause: lines in messages stay the author's.

use std::collections::BTreeSet;

use regorus::Engine;
use serde::{Deserialize, Serialize};

use super::error::{BundleError, BundleErrorKind};
use super::limits::{MAX_MODULES, MAX_PATH_BYTES, MAX_TEXT_BYTES};

/// One Rego file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Its path in the bundle, used in messages and in the digest.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// How a module was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// Rego v1.
    V1,
    /// Rego v0 as it stands.
    V0,
    /// Rego v0 with `import future.keywords` added.
    V0FutureKeywords,
}

/// A module with the dialect that it was read in.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) path: String,
    pub(crate) dialect: Dialect,
    text: String,
}

/// Parses every module into `engine`.
pub(crate) fn load(engine: &mut Engine, sources: &[Module]) -> Result<Vec<Loaded>, BundleError> {
    check_sizes(sources)?;
    let mut sorted: Vec<&Module> = sources.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    sorted
        .into_iter()
        .map(|module| load_one(engine, module))
        .collect()
}

/// Parses modules again of which the dialect is known.
pub(crate) fn reload(engine: &mut Engine, loaded: &[Loaded]) -> Result<(), BundleError> {
    loaded.iter().try_for_each(|module| {
        add(engine, &module.path, &module.text, module.dialect).map_err(|error| *error)
    })
}

fn load_one(engine: &mut Engine, module: &Module) -> Result<Loaded, BundleError> {
    let mut best: Option<Box<BundleError>> = None;
    for &dialect in candidates(&module.text) {
        let text = match dialect {
            Dialect::V0FutureKeywords => with_future_keywords(&module.text),
            _ => module.text.clone(),
        };
        match add(engine, &module.path, &text, dialect) {
            Ok(()) => {
                return Ok(Loaded {
                    path: module.path.clone(),
                    dialect,
                    text,
                });
            }
            // The dialect that got furthest is the one the author meant.
            Err(error) if best.as_ref().is_none_or(|b| place(&error) > place(b)) => {
                best = Some(error);
            }
            Err(_) => {}
        }
    }
    Err(best.map_or_else(
        || BundleError::new(BundleErrorKind::Syntax, "cannot be parsed"),
        |error| *error,
    ))
}

fn place(error: &BundleError) -> (Option<u32>, Option<u32>) {
    (error.line, error.column)
}

fn add(
    engine: &mut Engine,
    path: &str,
    text: &str,
    dialect: Dialect,
) -> Result<(), Box<BundleError>> {
    engine.set_rego_v0(dialect != Dialect::V1);
    engine
        .add_policy(path.to_owned(), text.to_owned())
        .map(drop)
        .map_err(|error| {
            let mut error = BundleError::parse(BundleErrorKind::Syntax, &error.to_string());
            error.file.get_or_insert_with(|| path.to_owned());
            Box::new(error)
        })
}

/// The order of trial. Plain v0 is left out where a keyword is used and not imported: it could
/// only fail, and the parser would print a warning on standard error for each.
fn candidates(text: &str) -> &'static [Dialect] {
    use Dialect::{V0, V0FutureKeywords, V1};
    if text.contains("import future.keywords") {
        &[V1, V0, V0FutureKeywords]
    } else if uses_future_keyword(text) {
        &[V1, V0FutureKeywords]
    } else {
        &[V1, V0]
    }
}

/// Whether `in`, `every`, `if` or `contains` (but not the function) stands outside strings and
/// comments.
fn uses_future_keyword(text: &str) -> bool {
    text.lines().any(|line| {
        let code = code_of(line);
        let mut words = code
            .split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '(')))
            .filter(|word| !word.is_empty());
        words.any(|word| matches!(word, "in" | "every" | "if" | "contains"))
    })
}

/// The line without its strings and its comment.
fn code_of(line: &str) -> String {
    let mut code = String::with_capacity(line.len());
    let mut quote = None;
    let mut escaped = false;
    for c in line.chars() {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '#' => break,
            None if c == '"' || c == '`' => {
                quote = Some(c);
                code.push(' ');
            }
            None => code.push(c),
        }
    }
    code
}

/// The import, put behind the package clause on its own line.
fn with_future_keywords(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 32);
    let mut done = false;
    for line in text.split_inclusive('\n') {
        let body = line.trim_end_matches(['\n', '\r']);
        if !done && body.trim_start().starts_with("package ") {
            done = true;
            let clause = clause_of(body);
            out.push_str(clause);
            out.push_str(" import future.keywords ");
            out.push_str(line.strip_prefix(clause).unwrap_or_default());
        } else {
            out.push_str(line);
        }
    }
    out
}

/// The line up to its comment: a `#` outside the quotes of `package a["b#c"]`.
fn clause_of(line: &str) -> &str {
    let mut quoted = false;
    for (index, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '#' if !quoted => return line.get(..index).unwrap_or(line).trim_end(),
            _ => {}
        }
    }
    line.trim_end()
}

fn check_sizes(sources: &[Module]) -> Result<(), BundleError> {
    let refuse = |reason: String| Err(BundleError::new(BundleErrorKind::Size, reason));
    if sources.is_empty() {
        return refuse("a bundle needs at least one module".to_owned());
    }
    if sources.len() > MAX_MODULES {
        return refuse(format!("a bundle holds at most {MAX_MODULES} modules"));
    }
    let bytes: usize = sources.iter().map(|module| module.text.len()).sum();
    if bytes > MAX_TEXT_BYTES {
        return refuse(format!("the modules exceed {MAX_TEXT_BYTES} bytes"));
    }
    let mut seen = BTreeSet::new();
    for module in sources {
        let path = module.path.as_str();
        if path.is_empty() || path.len() > MAX_PATH_BYTES || path.contains(char::is_control) {
            return refuse(format!(
                "a module's path has 1 to {MAX_PATH_BYTES} printable bytes"
            ));
        }
        if !seen.insert(path) {
            return refuse(format!("{path} is in the bundle twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_count_outside_strings_and_comments_only() {
        assert!(uses_future_keyword("allow { x in y }"));
        assert!(uses_future_keyword("deny contains msg { true }"));
        assert!(!uses_future_keyword("allow { contains(x, \"y\") }"));
        assert!(!uses_future_keyword(
            "allow { x == \"a \\\" in b\" } # if every"
        ));
        assert!(!uses_future_keyword("allow { input.index == inside }"));
    }

    #[test]
    fn the_import_shares_the_package_line() {
        let text = with_future_keywords("# head\npackage a.b # why\n\nallow { 1 in [1] }\n");
        assert_eq!(
            text,
            "# head\npackage a.b import future.keywords  # why\n\nallow { 1 in [1] }\n"
        );
    }
}

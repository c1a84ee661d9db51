//! Finds the rules that answer: which package, and which of its rules are defined.

use regorus::Engine;

use super::error::{BundleError, BundleErrorKind};

/// The package that is taken whenever it is in the bundle.
pub const DEFAULT_PACKAGE: &str = "data.nexus.agent.policy";

/// The rules to ask, as paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// One rule gives the whole decision.
    Object(String),
    /// `allow` decides; the others restrict.
    Boolean {
        allow: String,
        deny: Option<String>,
        require_approval: Option<String>,
        obligations: Option<String>,
    },
}

impl Entry {
    /// The rule that allows.
    pub(crate) fn root(&self) -> &str {
        match self {
            Self::Object(path) | Self::Boolean { allow: path, .. } => path,
        }
    }

    /// The rule that asks for an approval.
    pub(crate) fn require_approval(&self) -> &str {
        match self {
            Self::Boolean {
                require_approval: Some(path),
                ..
            } => path,
            _ => self.root(),
        }
    }

    /// The paths in the order in which the program is asked for them.
    pub(crate) fn paths(&self) -> Vec<&str> {
        match self {
            Self::Object(path) => vec![path],
            Self::Boolean {
                allow,
                deny,
                require_approval,
                obligations,
            } => std::iter::once(allow)
                .chain(deny)
                .chain(require_approval)
                .chain(obligations)
                .map(String::as_str)
                .collect(),
        }
    }
}

/// Chooses the package and looks for its rules.
pub(crate) fn find(engine: &Engine) -> Result<Entry, BundleError> {
    let packages = packages(engine)?;
    let answering: Vec<&Package> = packages
        .iter()
        .filter(|package| package.has(engine, "decision") || package.has(engine, "allow"))
        .collect();
    let package = match answering.as_slice() {
        [] => return Err(none()),
        [only] => only,
        several => several
            .iter()
            .find(|package| package.path == DEFAULT_PACKAGE)
            .ok_or_else(|| ambiguous(several))?,
    };
    if package.has(engine, "decision") {
        return Ok(Entry::Object(package.rule("decision")));
    }
    let optional = |name| package.has(engine, name).then(|| package.rule(name));
    Ok(Entry::Boolean {
        allow: package.rule("allow"),
        deny: optional("deny"),
        require_approval: optional("require_approval"),
        obligations: optional("obligations"),
    })
}

struct Package {
    path: String,
    files: Vec<String>,
}

impl Package {
    fn rule(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    fn has(&self, engine: &Engine, name: &str) -> bool {
        self.files.iter().any(|file| {
            engine
                .has_declared_rule_rooted_at(file, name)
                .unwrap_or(false)
        })
    }
}

fn packages(engine: &Engine) -> Result<Vec<Package>, BundleError> {
    let modules = engine
        .get_policy_package_components()
        .map_err(|error| BundleError::parse(BundleErrorKind::Compile, &error.to_string()))?;
    let mut packages: Vec<Package> = Vec::new();
    for module in modules {
        let path = path_of(&module.components);
        match packages.iter_mut().find(|package| package.path == path) {
            Some(package) => package.files.push(module.source_file),
            None => packages.push(Package {
                path,
                files: vec![module.source_file],
            }),
        }
    }
    Ok(packages)
}

fn path_of(components: &[String]) -> String {
    let mut path = "data".to_owned();
    for component in components {
        let mut chars = component.chars();
        let plain = chars
            .next()
            .is_some_and(|c| c == '_' || c.is_ascii_alphabetic())
            && chars.all(|c| c == '_' || c.is_ascii_alphanumeric());
        if plain {
            path.push('.');
            path.push_str(component);
        } else {
            path.push_str(&format!(
                "[{}]",
                serde_json::Value::from(component.as_str())
            ));
        }
    }
    path
}

fn none() -> BundleError {
    BundleError::new(
        BundleErrorKind::NoEntryPoint,
        "no package defines `decision` or `allow`; the usual one is `package nexus.agent.policy`",
    )
}

fn ambiguous(packages: &[&Package]) -> BundleError {
    let names: Vec<_> = packages.iter().map(|p| p.path.as_str()).collect();
    BundleError::new(
        BundleErrorKind::AmbiguousEntryPoint,
        format!(
            "{} all define `decision` or `allow` and none is {DEFAULT_PACKAGE}",
            names.join(", ")
        ),
    )
}

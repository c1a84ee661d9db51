//! Paths of a run's workspace, and the patterns that a permission document names them by.
//!
//! Tools see one folder, [`WORKSPACE`], whatever machine they run on; a path is a list of names
//! below it and nothing else. `..` is refused rather than resolved: what it would mean depends on
//! links, and no tool needs it. A pattern is a path, or a folder and `/*` for all that is below it,
//! at any depth; general globs are left out because two of them have no common glob, so that a
//! document could not be narrowed exactly.

use std::fmt;
use std::str::FromStr;

use super::pattern::{Denied, Pattern, PatternError, read_all};
use super::{ByteSize, Permissions};

/// What a run's workspace is called, to tools and in permission documents. It is not a path of the
/// machine.
pub const WORKSPACE: &str = "/tmp/agent-workspace";

/// Of one file, where a document says nothing.
pub const DEFAULT_FILE_SIZE: ByteSize = ByteSize::bytes(1 << 20);

const ROOT: [&str; 2] = ["tmp", "agent-workspace"];
const MAX_PATH: usize = 1024;
const MAX_NAME: usize = 255;
const MAX_DEPTH: usize = 32;

/// A place in a run's workspace: names below its root, which is the empty list.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkspacePath(Vec<String>);

impl WorkspacePath {
    /// Reads what a tool was given: below [`WORKSPACE`], or relative to it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() || text.len() > MAX_PATH {
            return Err("is no path of 1 to 1024 bytes");
        }
        let mut names: Vec<&str> = text
            .split('/')
            .filter(|name| !matches!(*name, "" | "."))
            .collect();
        if names.contains(&"..") {
            return Err("goes up with `..`, which no path may");
        }
        if text.starts_with('/') {
            if !names.starts_with(&ROOT) {
                return Err("is not in the workspace, which is /tmp/agent-workspace");
            }
            names.drain(..ROOT.len());
        }
        if names.len() > MAX_DEPTH {
            return Err("is deeper than 32 folders");
        }
        names.iter().try_for_each(|name| check_name(name))?;
        Ok(Self(names.into_iter().map(str::to_owned).collect()))
    }

    /// The names from the root down.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// Its last name; none for the root.
    pub fn file_name(&self) -> Option<&str> {
        self.0.last().map(String::as_str)
    }

    /// What is called so in this folder; none for a name that a path may not have.
    pub fn join(&self, name: &str) -> Option<Self> {
        let plain = !name.contains('/') && !matches!(name, "" | "." | "..");
        let fits = plain && self.0.len() < MAX_DEPTH && check_name(name).is_ok();
        fits.then(|| Self(self.0.iter().cloned().chain([name.to_owned()]).collect()))
    }

    fn is_in(&self, folder: &Self) -> bool {
        self.0.starts_with(&folder.0)
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.len() > MAX_NAME {
        return Err("has a name of more than 255 bytes");
    }
    if name.ends_with(['.', ' ']) || name.starts_with(' ') {
        return Err("has a name that begins with a blank or ends with a blank or a dot");
    }
    if name.contains(is_deceptive) {
        return Err("has a character that cannot be seen or looks like `/`, `\\` or `.`");
    }
    Ok(())
}

/// Control characters, the backslash, what is invisible or turns the reading direction, and what
/// looks like a separator or a dot: no file needs them in its name, and people approve by what they
/// see.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\\'
            | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2024}'..='\u{2025}'
            | '\u{2028}'..='\u{202f}' | '\u{2044}' | '\u{2060}'..='\u{206f}' | '\u{2215}'..='\u{2216}'
            | '\u{29f5}' | '\u{29f8}'..='\u{29f9}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{fe52}' | '\u{fe68}' | '\u{feff}' | '\u{ff0e}' | '\u{ff0f}' | '\u{ff3c}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{ffff}' | '\u{e0000}'..='\u{e0fff}')
}

impl fmt::Display for WorkspacePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WORKSPACE)?;
        self.0.iter().try_for_each(|name| write!(f, "/{name}"))
    }
}

/// One entry of `paths`: a path, or a folder and `/*` (or `/**`) for all that is below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    path: WorkspacePath,
    below: bool,
}

impl PathPattern {
    /// Whether a file is meant.
    pub fn matches(&self, path: &WorkspacePath) -> bool {
        if self.below {
            path.is_in(&self.path) && *path != self.path
        } else {
            *path == self.path
        }
    }

    /// Whether something in this folder is meant, at any depth.
    fn reaches_into(&self, folder: &WorkspacePath) -> bool {
        let on_the_way = self.path.is_in(folder) && (self.below || self.path != *folder);
        on_the_way || self.below && folder.is_in(&self.path)
    }
}

impl FromStr for PathPattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (folder, last) = text.rsplit_once('/').unwrap_or((".", text));
        let below = matches!(last, "*" | "**");
        let path = if below { folder } else { text };
        if path.contains(['*', '?']) {
            return Err(
                "may have a star only as its last name; kinds of files are told by `allowed_extensions`",
            );
        }
        let path = WorkspacePath::parse(path)?;
        Ok(Self { path, below })
    }
}

impl Pattern for PathPattern {
    fn both(&self, other: &Self) -> Option<Self> {
        match (self.below, other.below) {
            (true, true) if self.path.is_in(&other.path) => Some(self.clone()),
            (true, true) if other.path.is_in(&self.path) => Some(other.clone()),
            (true, true) => None,
            (true, false) => self.matches(&other.path).then(|| other.clone()),
            (false, _) => other.matches(&self.path).then(|| self.clone()),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)?;
        f.write_str(if self.below { "/*" } else { "" })
    }
}

/// One entry of `allowed_extensions`: `.txt`, `.tar.gz`; case does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extension(String);

impl FromStr for Extension {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
        let named = text.len() > 1 && text.starts_with('.') && !text.ends_with('.');
        if named && text.len() <= MAX_NAME && text.chars().all(fits) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err("is no extension, e.g. .txt")
        }
    }
}

impl Extension {
    fn matches(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        name.len() > self.0.len() && name.ends_with(&self.0)
    }
}

impl Pattern for Extension {
    fn both(&self, other: &Self) -> Option<Self> {
        if self.0.ends_with(&other.0) {
            return Some(self.clone());
        }
        other.0.ends_with(&self.0).then(|| other.clone())
    }
}

impl fmt::Display for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The file part of a document, ready to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathRules {
    read: Vec<PathPattern>,
    write: Vec<PathPattern>,
    extensions: Option<Vec<Extension>>,
}

impl Permissions {
    /// What it says of files, ready to be asked; nothing may be touched where it says nothing.
    ///
    /// # Errors
    /// A pattern has a mistake: then nothing may be touched.
    pub fn path_rules(&self) -> Result<PathRules, PatternError> {
        let (read, write): (&[String], &[String]) = match &self.paths {
            Some(paths) => (&paths.read, &paths.write),
            None => (&[], &[]),
        };
        let extensions = (self.allowed_extensions.as_ref())
            .map(|list| read_all("allowed_extensions", list))
            .transpose()?;
        Ok(PathRules {
            read: read_all("paths.read", read)?,
            write: read_all("paths.write", write)?,
            extensions,
        })
    }

    /// Bytes of one file that is read or written.
    pub fn file_size(&self) -> ByteSize {
        self.max_file_size.unwrap_or(DEFAULT_FILE_SIZE)
    }
}

impl PathRules {
    /// Whether a file may be read.
    ///
    /// # Errors
    /// [`Denied`] with the path.
    pub fn read(&self, path: &WorkspacePath) -> Result<(), Denied> {
        self.ask(&self.read, "read", path)
    }

    /// Whether a file may be written.
    ///
    /// # Errors
    /// [`Denied`] with the path.
    pub fn write(&self, path: &WorkspacePath) -> Result<(), Denied> {
        self.ask(&self.write, "written", path)
    }

    /// Whether a folder may be listed: something in it may be read. Its entries are another
    /// question.
    ///
    /// # Errors
    /// [`Denied`] with the path.
    pub fn list(&self, folder: &WorkspacePath) -> Result<(), Denied> {
        if (self.read.iter()).any(|pattern| pattern.reaches_into(folder)) {
            return Ok(());
        }
        Err(Denied(format!("{folder} may not be listed by this tool")))
    }

    fn ask(&self, list: &[PathPattern], done: &str, path: &WorkspacePath) -> Result<(), Denied> {
        if !list.iter().any(|pattern| pattern.matches(path)) {
            return Err(Denied(format!("{path} may not be {done} by this tool")));
        }
        let Some(extensions) = &self.extensions else {
            return Ok(());
        };
        let name = path.file_name().unwrap_or_default();
        if extensions.iter().any(|extension| extension.matches(name)) {
            return Ok(());
        }
        let known: Vec<_> = extensions.iter().map(ToString::to_string).collect();
        let known = known.join(", ");
        Err(Denied(format!(
            "{path} may not be {done}: this tool may touch only files with {known}"
        )))
    }
}

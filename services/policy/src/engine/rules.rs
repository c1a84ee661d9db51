//! Where a rule's bodies stand, and what their author wrote above them.

use std::collections::BTreeMap;

use regorus::CompiledPolicy;

use super::limits::MAX_ITEM_CHARS;

/// One body of a rule, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// `package.rule@file:line`.
    pub(crate) name: String,
    /// The comment right above it, or the title in its metadata.
    pub(crate) comment: Option<String>,
}

/// The places of a rule's bodies, in the order of the compiled definitions.
pub(crate) fn places(policy: &CompiledPolicy, path: &str) -> Vec<Place> {
    let Some(rules) = policy.get_rules().get(path) else {
        return Vec::new();
    };
    rules
        .iter()
        .map(|rule| {
            let span = rule.span();
            let line = usize::try_from(span.line).unwrap_or(0);
            Place {
                name: format!("{}@{}:{line}", short(path), span.source.get_path()),
                comment: comment_above(span.source.get_contents(), line),
            }
        })
        .collect()
}

/// `file:line` of every rule's bodies, by `package.rule`.
pub(crate) fn lines(policy: &CompiledPolicy) -> BTreeMap<String, Vec<String>> {
    let place =
        |span: &regorus::unstable::Span| format!("{}:{}", span.source.get_path(), span.line);
    policy
        .get_rules()
        .iter()
        .map(|(path, bodies)| {
            let places = bodies.iter().map(|body| place(body.span())).collect();
            (short(path).to_owned(), places)
        })
        .collect()
}

/// The path without `data.`.
pub(crate) fn short(path: &str) -> &str {
    path.strip_prefix("data.").unwrap_or(path)
}

/// The block of comment lines directly above `line` (from 1), joined.
fn comment_above(text: &str, line: usize) -> Option<String> {
    let lines: Vec<&str> = text.lines().take(line.saturating_sub(1)).collect();
    let mut block: Vec<&str> = lines
        .iter()
        .rev()
        .map_while(|line| line.trim().strip_prefix('#'))
        .map(str::trim)
        .collect();
    block.reverse();
    let text = if block.first() == Some(&"METADATA") {
        let title = block.iter().find_map(|line| line.strip_prefix("title:"))?;
        title.trim().to_owned()
    } else {
        block.join(" ").trim().to_owned()
    };
    (!text.is_empty()).then(|| text.chars().take(MAX_ITEM_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_belongs_to_the_rule_right_below_it() {
        let text = "package a\n\n# Far.\n\n# One\n# two.\nallow := true\n";
        assert_eq!(comment_above(text, 7).as_deref(), Some("One two."));
        assert_eq!(comment_above(text, 4).as_deref(), Some("Far."));
        assert_eq!(comment_above(text, 2), None);
        let meta = "# METADATA\n# title: Admins\n# scope: rule\nallow := true";
        assert_eq!(comment_above(meta, 4).as_deref(), Some("Admins"));
    }
}

//! Refuses what could exhaust memory in one step, where no limit of an evaluation is looked at.
//!
//! Looked for in the text, so that the tests of a bundle are held to it as well.

use super::error::{BundleError, BundleErrorKind};
use super::source::Module;

/// Built-ins of which a single call can ask for any amount of memory.
const BUILTINS: [&str; 3] = ["numbers.range", "bits.lsh", "numbers.range_step"];
/// Digits of width or precision that a format may have.
const MAX_WIDTH_DIGITS: usize = 4;

/// The first fault of this kind.
pub(crate) fn check(sources: &[Module]) -> Result<(), BundleError> {
    for module in sources {
        for (index, line) in module.text.lines().enumerate() {
            if let Some((column, reason)) = fault(line) {
                return Err(BundleError {
                    kind: BundleErrorKind::Forbidden,
                    file: Some(module.path.clone()),
                    line: u32::try_from(index + 1).ok(),
                    column: u32::try_from(column + 1).ok(),
                    reason,
                });
            }
        }
    }
    Ok(())
}

fn fault(line: &str) -> Option<(usize, String)> {
    let called = BUILTINS
        .iter()
        .find_map(|name| Some((line.find(name)?, *name)));
    if let Some((column, name)) = called {
        let reason = format!("{name} is not available: one call could exhaust memory");
        return Some((column, reason));
    }
    line.match_indices('%').find_map(|(column, _)| {
        let rest = line.get(column + 1..)?.trim_start_matches('.');
        let digits = rest.chars().take_while(|c| c.is_numeric()).count();
        (digits > MAX_WIDTH_DIGITS).then(|| {
            let reason = format!("a format has at most {MAX_WIDTH_DIGITS} digits of width");
            (column, reason)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_padding_is_seen() {
        assert!(fault("sprintf(\"a %4000000000d\", [1])").is_some());
        assert!(fault("sprintf(\"%.99999f\", [1])").is_some());
        assert!(fault("\"100% of %d, %08d and %.2f\"").is_none());
    }
}

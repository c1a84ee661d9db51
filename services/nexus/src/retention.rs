//! `[retention]`: how long things are kept. A year of load is manageable with it, and by default what
//! audit needs is kept for ever; docs/retention.md says what each age takes away.

use std::time::Duration;

use nexus_projections::RetentionPolicy;
use serde::Deserialize;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Ages in days; 0 is for ever.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RetentionConfig {
    /// Runs in the tables, since their end, with what was said and called in them.
    pub(crate) runs_days: u32,
    /// Audit entries in the tables, once they are archived.
    pub(crate) audit_days: u32,
    /// Commands that could not be handled.
    pub(crate) dead_letters_days: u32,
    /// Files of runs, since they were last changed.
    pub(crate) workspaces_days: u32,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self {
            runs_days: 0,
            audit_days: 0,
            dead_letters_days: 30,
            workspaces_days: 90,
        }
    }
}

impl RetentionConfig {
    /// Of the tables.
    pub(crate) fn policy(&self) -> RetentionPolicy {
        RetentionPolicy {
            runs: age(self.runs_days),
            audit: age(self.audit_days),
        }
    }

    /// Of dead letters; the stream's own word for ever is zero.
    pub(crate) fn dead_letters(&self) -> Duration {
        age(self.dead_letters_days).unwrap_or_default()
    }

    /// Of files of runs.
    pub(crate) fn workspaces(&self) -> Option<Duration> {
        age(self.workspaces_days)
    }
}

fn age(days: u32) -> Option<Duration> {
    (days > 0).then(|| DAY.saturating_mul(days))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;
    use crate::config::Config;

    /// The example of docs/retention.md.
    #[test]
    fn ages_are_read_as_documented() {
        let document = include_str!("../../../docs/retention.md");
        let block = document.split("```toml\n").nth(1).unwrap();
        let config: Config = toml::from_str(block.split("```").next().unwrap()).unwrap();
        let retention = config.retention;
        assert_eq!(retention.policy().runs, Some(DAY * 90));
        assert_eq!(retention.policy().audit, Some(DAY * 400));
        assert_eq!(retention.workspaces(), Some(DAY * 90));
    }

    #[test]
    fn by_default_nothing_leaves_the_tables() {
        let retention = RetentionConfig::default();
        assert!(retention.policy().keeps_all());
        assert_eq!(retention.dead_letters(), DAY * 30);
    }
}

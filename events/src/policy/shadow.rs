//! What a bundle that does not decide would have decided: kept beside the decision that counts, and
//! how the two differ.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::run::PolicyDecided;

/// How another bundle's judgement differs from the one that was recorded.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// It allows what was not allowed.
    WouldAllow,
    /// It denies what was not denied.
    WouldDeny,
    /// It asks people, who were not asked.
    WouldAsk,
    /// It asks other people, or for another time.
    OtherApproval,
    /// It allows under other obligations.
    OtherObligations,
    /// It fails where the other did not: that would be a denial.
    Failed,
}

impl Difference {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::WouldAllow,
        Self::WouldDeny,
        Self::WouldAsk,
        Self::OtherApproval,
        Self::OtherObligations,
        Self::Failed,
    ];

    /// As it is written in tables, metrics and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::WouldAllow => "would_allow",
            Self::WouldDeny => "would_deny",
            Self::WouldAsk => "would_ask",
            Self::OtherApproval => "other_approval",
            Self::OtherObligations => "other_obligations",
            Self::Failed => "failed",
        }
    }

    /// How `other` differs from what was recorded. Words, rule names and durations do not count.
    pub fn between(recorded: &PolicyDecided, other: &PolicyDecided) -> Option<Self> {
        if other.error.is_some() {
            return recorded.error.is_none().then_some(Self::Failed);
        }
        let (before, after) = (Effect::of(recorded), Effect::of(other));
        match after {
            _ if before == after => match after {
                Effect::Ask if recorded.approval != other.approval => Some(Self::OtherApproval),
                Effect::Allow if recorded.obligations != other.obligations => {
                    Some(Self::OtherObligations)
                }
                _ => None,
            },
            Effect::Allow => Some(Self::WouldAllow),
            Effect::Ask => Some(Self::WouldAsk),
            Effect::Deny => Some(Self::WouldDeny),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Allow,
    Ask,
    Deny,
}

impl Effect {
    fn of(decided: &PolicyDecided) -> Self {
        match (decided.allowed, &decided.approval) {
            (true, _) => Self::Allow,
            (false, Some(_)) => Self::Ask,
            (false, None) => Self::Deny,
        }
    }
}

/// What the bundle in shadow says of the same question. It changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShadowDecided {
    /// Its digest, or `builtin`.
    pub bundle: String,
    /// How it differs; then the rest says what it would have done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differs: Option<Difference>,
    /// It would allow it.
    pub allowed: bool,
    /// It would ask people first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approval: bool,
    /// Its rules, where it differs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// Its reasons, where it differs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// What went wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long it took, in microseconds.
    pub duration_us: u64,
}

impl ShadowDecided {
    /// The record of a judgement beside the one that counts. Small unless they differ.
    pub fn beside(recorded: &PolicyDecided, shadow: PolicyDecided) -> Self {
        let differs = Difference::between(recorded, &shadow);
        let told = differs.is_some();
        let when_told = |words: Vec<String>| if told { words } else { vec![] };
        Self {
            bundle: shadow.bundle,
            differs,
            allowed: shadow.allowed,
            approval: shadow.approval.is_some(),
            rules: when_told(shadow.rules),
            reasons: when_told(shadow.reasons),
            error: shadow.error.filter(|_| told),
            duration_us: shadow.duration_us,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{ApprovalRequirement, Obligations};

    fn says(allowed: bool, asks: bool) -> PolicyDecided {
        PolicyDecided {
            allowed,
            approval: asks.then(ApprovalRequirement::default),
            rules: vec!["rule".to_owned()],
            ..PolicyDecided::default()
        }
    }

    #[test]
    fn every_pair_of_effects_has_its_name() {
        use Difference::{WouldAllow, WouldAsk, WouldDeny};
        let effects = [says(true, false), says(false, true), says(false, false)];
        let names = [Some(WouldAllow), Some(WouldAsk), Some(WouldDeny)];
        for (i, before) in effects.iter().enumerate() {
            for (j, (after, name)) in effects.iter().zip(names).enumerate() {
                let expected = if i == j { None } else { name };
                assert_eq!(Difference::between(before, after), expected, "{i} {j}");
            }
        }
    }

    #[test]
    fn conditions_count_and_words_do_not() {
        let allowed = says(true, false);
        let mut other = allowed.clone();
        other.rules = vec!["another".to_owned()];
        assert_eq!(Difference::between(&allowed, &other), None);
        other.obligations = Obligations {
            max_tokens: Some(1),
            ..Obligations::default()
        };
        let found = Difference::between(&allowed, &other);
        assert_eq!(found, Some(Difference::OtherObligations));
        let mut other = says(false, true);
        other.approval = Some(ApprovalRequirement {
            count: 2,
            ..ApprovalRequirement::default()
        });
        let found = Difference::between(&says(false, true), &other);
        assert_eq!(found, Some(Difference::OtherApproval));
    }

    #[test]
    fn a_failure_differs_from_a_denial_by_rule() {
        let mut failed = says(false, false);
        failed.error = Some("it took too long".to_owned());
        let denied = says(false, false);
        assert_eq!(
            Difference::between(&denied, &failed),
            Some(Difference::Failed)
        );
        assert_eq!(Difference::between(&failed, &failed), None);
        assert_eq!(Difference::between(&failed, &denied), None);
        let beside = ShadowDecided::beside(&denied, failed);
        assert!(beside.error.is_some());
        assert_eq!(
            ShadowDecided::beside(&denied, denied.clone()).rules.len(),
            0
        );
    }
}

//! What is done in one direction, and a whole text filtered by it.

use std::sync::Arc;

use nexus_events::content::{Action, Class, Direction, Finding};

use crate::deny::Deny;
use crate::form::Classes;
use crate::scan;
use crate::stream::Stream;

const CLASSES: usize = Class::ALL.len();

/// What is done with each class in one direction.
#[derive(Clone, Debug, Default)]
pub struct Side {
    actions: [Option<Action>; CLASSES],
    deny: Option<Arc<Deny>>,
}

/// How often each class was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally([u32; CLASSES]);

/// A text that was filtered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// What takes its place; absent where it may stay as it is.
    pub text: Option<String>,
    /// What in it is refused.
    pub refused: Option<Class>,
}

impl Side {
    pub(crate) fn new(actions: [Option<Action>; CLASSES], deny: Option<Arc<Deny>>) -> Self {
        let mut side = Self { actions, deny };
        if side.deny.is_none() {
            side.actions[Class::Denied as usize] = None;
        }
        side
    }

    /// What is done with a class.
    pub fn action(&self, class: Class) -> Option<Action> {
        self.actions.get(class as usize).copied().flatten()
    }

    /// Whether nothing is looked for.
    pub fn is_off(&self) -> bool {
        self.actions.iter().all(Option::is_none)
    }

    /// Whether a text may come out otherwise than it came in.
    pub fn changes(&self) -> bool {
        self.actions
            .iter()
            .any(|action| *action > Some(Action::Mark))
    }

    /// The stricter one of what is done here and what is wanted.
    #[must_use]
    pub fn and(mut self, wanted: impl IntoIterator<Item = (Class, Action)>) -> Self {
        for (class, action) in wanted {
            if let Some(own) = self.actions.get_mut(class as usize) {
                *own = (*own).max(Some(action));
            }
        }
        Self::new(self.actions, self.deny)
    }

    pub(crate) fn deny(&self) -> Option<&Deny> {
        self.deny.as_deref()
    }

    /// The classes of an action.
    pub(crate) fn with(&self, action: Action) -> Classes {
        Classes::of(
            Class::ALL
                .into_iter()
                .filter(|class| self.action(*class) == Some(action)),
        )
    }

    /// Text that is another where something else is done: for whoever keeps what was filtered.
    pub fn describe(&self) -> String {
        let actions: Vec<_> = self
            .actions
            .iter()
            .map(|action| action.map_or(0, |a| 1 + a as u8))
            .collect();
        let deny = self.deny().map_or("", |deny| deny.regex.as_str());
        format!("{actions:?} {deny}")
    }

    /// Filters a whole text. What is only marked or refused is looked for by itself, in the text as
    /// it was: something else that is left out must not hide it.
    pub fn check(&self, text: &str, tally: &mut Tally) -> Checked {
        let mut checked = Checked::default();
        for action in [Action::Refuse, Action::Mark] {
            let found = self.find(text, action, tally);
            if action == Action::Refuse && found.is_some() {
                checked.refused = found;
                return checked;
            }
        }
        if !self.actions.contains(&Some(Action::Redact)) {
            return checked;
        }
        let mut stream = Stream::new(self);
        let mut filtered = stream.push(text);
        filtered.push_str(&stream.finish());
        tally.add(stream.tally());
        checked.refused = stream.refused();
        if filtered != text {
            checked.text = Some(filtered);
        }
        checked
    }

    /// Counts what an action is for; gives the first of it.
    fn find(&self, text: &str, action: Action, tally: &mut Tally) -> Option<Class> {
        let mut first = None;
        for form in scan::forms(text, self.with(action)) {
            first = first.or(Some(form.class()));
            tally.count(form.class());
        }
        if self.action(Class::Denied) == Some(action)
            && let Some(deny) = self.deny()
        {
            for _ in deny.regex.find_iter(text) {
                first = first.or(Some(Class::Denied));
                tally.count(Class::Denied);
            }
        }
        first
    }
}

impl Tally {
    /// One more.
    pub fn count(&mut self, class: Class) {
        if let Some(count) = self.0.get_mut(class as usize) {
            *count = count.saturating_add(1);
        }
    }

    /// As many more as the other has.
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(&other.0) {
            *sum = sum.saturating_add(*count);
        }
    }
}

/// A tally as events record it.
pub fn findings(side: &Side, direction: Direction, tally: &Tally) -> Vec<Finding> {
    let counted = Class::ALL
        .into_iter()
        .zip(tally.0)
        .filter(|(_, count)| *count > 0);
    counted
        .filter_map(|(class, count)| {
            Some(Finding {
                direction,
                class,
                action: side.action(class)?,
                count,
            })
        })
        .collect()
}

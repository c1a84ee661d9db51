//! What is going on, on standard error: a line for each fault, and where the runs are.

use std::time::Instant;

use super::plan::Step;
use crate::cli::print::hint;

/// Tells people.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    began: Instant,
    quiet: bool,
}

impl Progress {
    /// From now on; with `quiet` nothing is told.
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            began: Instant::now(),
            quiet,
        }
    }

    /// A sentence.
    pub(crate) fn say(&self, what: &str) {
        if !self.quiet {
            hint(&format!(
                "{:>6.1}s  {what}",
                self.began.elapsed().as_secs_f64()
            ));
        }
    }

    /// A fault is made.
    pub(crate) fn fault(&self, step: &Step) {
        self.say(&line(step));
    }
}

/// A step of a plan as a line.
pub(crate) fn line(step: &Step) -> String {
    let fault = serde_json::to_value(&step.fault).unwrap_or_default();
    let mut words = vec![];
    flatten("", &fault, &mut words);
    words.join(" ")
}

fn flatten(name: &str, value: &serde_json::Value, words: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                flatten(name, value, words);
            }
        }
        serde_json::Value::Null => {}
        serde_json::Value::String(text) if name == "fault" => words.insert(0, text.clone()),
        serde_json::Value::String(text) => words.push(format!("{name}={text}")),
        other => words.push(format!("{name}={other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Fault, Instance, Target};
    use super::*;
    use crate::roles::Role;

    #[test]
    fn a_step_is_one_line() {
        let instance = Instance {
            role: Role::Llm,
            index: 1,
        };
        let fault = Fault::Kill {
            target: Target::Role(instance),
            for_ms: 70,
        };
        let step = Step { at_ms: 5, fault };
        assert_eq!(line(&step), "kill for_ms=70 role=llm-1");
    }
}

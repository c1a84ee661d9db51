//! The content filter around a model call. What goes to the model is filtered whole, before the
//! call; what it writes is filtered twice by the same rules: as it streams, for whoever listens
//! (`live.rs`), and whole, for the log. Both give the same text.

use nexus_content::{Filters, Rules, Side, Tally, findings};
use nexus_events::Tenant;
use nexus_events::content::{Class, Direction, Finding};
use nexus_events::model::Message;
use nexus_events::policy::Obligations;
use nexus_events::run::{LlmFailed, ModelOutcome, ReservationGranted};

use crate::attempts::{Called, Ended, Then};
use crate::live::LiveStream;
use crate::provider::{Completion, Failure};

/// The code of a call that the filter refused.
pub(crate) const REFUSED: &str = "content_refused";

/// Something is refused: what, and where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) class: Class,
    pub(crate) place: String,
}

impl Refused {
    /// What the run is told: never the content.
    pub(crate) fn message(&self) -> String {
        let (class, place) = (self.class.name(), &self.place);
        format!("the content filter refuses {class} in {place}")
    }
}

/// The installation's rules for a tenant, and what policy wants beyond.
pub(crate) fn rules<'o>(
    filters: &Filters,
    tenant: &Tenant,
    duties: impl IntoIterator<Item = &'o Obligations>,
) -> Rules {
    let duties = duties.into_iter().filter_map(|duty| duty.filter.as_ref());
    duties.fold(filters.of(tenant.as_str()).clone(), Rules::and)
}

/// Filters what goes to the model; the log keeps what was said. Gives by how many bytes it grew, for
/// the words that take a short text's place are longer than that.
pub(crate) fn input(
    side: &Side,
    messages: &mut [Message],
) -> (Vec<Finding>, Result<usize, Refused>) {
    if side.is_off() {
        return (vec![], Ok(0));
    }
    let mut tally = Tally::default();
    let count = messages.len();
    let mut grown = 0_usize;
    let mut refused = None;
    for (index, message) in messages.iter_mut().enumerate() {
        let who = match message {
            Message::System { .. } => "an instruction",
            Message::User { .. } => "what the user said",
            Message::Assistant { .. } => "what the model said before",
            Message::Tool { .. } => "the result of a tool",
        };
        let before = len_bytes(message);
        if let Some(class) = check_message(side, message, &mut tally) {
            let place = format!("{who}, message {} of {count}", index + 1);
            refused = Some(Refused { class, place });
            break;
        }
        grown = grown.saturating_add(len_bytes(message).saturating_sub(before));
    }
    let found = findings(side, Direction::Input, &tally);
    (found, refused.map_or(Ok(grown), Err))
}

fn len_bytes(message: &Message) -> usize {
    match message {
        Message::System { text } | Message::User { text } | Message::Tool { text, .. } => {
            text.len()
        }
        Message::Assistant { text, tool_calls } => {
            let calls = tool_calls
                .iter()
                .map(|call| call.arguments.to_string().len());
            text.len() + calls.sum::<usize>()
        }
    }
}

fn check_message(side: &Side, message: &mut Message, tally: &mut Tally) -> Option<Class> {
    let (text, calls) = match message {
        Message::System { text } | Message::User { text } | Message::Tool { text, .. } => {
            (text, &mut [][..])
        }
        Message::Assistant { text, tool_calls } => (text, tool_calls.as_mut_slice()),
    };
    check_text(side, text, tally).or_else(|| {
        let mut calls = calls.iter_mut();
        calls.find_map(|call| side.check_value(&mut call.arguments, tally))
    })
}

fn check_text(side: &Side, text: &mut String, tally: &mut Tally) -> Option<Class> {
    let checked = side.check(text, tally);
    if let Some(filtered) = checked.text {
        *text = filtered;
    }
    checked.refused
}

/// Filters an answer, its text and the arguments of its tool calls.
pub(crate) fn output(side: &Side, done: &mut Completion) -> (Vec<Finding>, Result<(), Refused>) {
    if side.is_off() {
        return (vec![], Ok(()));
    }
    let mut tally = Tally::default();
    let refused = |class, place: String| Err(Refused { class, place });
    let mut result = match check_text(side, &mut done.text, &mut tally) {
        Some(class) => refused(class, "what the model wrote".to_owned()),
        None => Ok(()),
    };
    for (index, call) in done.tool_calls.iter_mut().enumerate() {
        if result.is_ok()
            && let Some(class) = side.check_value(&mut call.arguments, &mut tally)
        {
            let place = format!("what the model wrote to a tool, call {}", index + 1);
            result = refused(class, place);
        }
    }
    (findings(side, Direction::Output, &tally), result)
}

/// Filters what a call gave, and tells whoever listens how it ends: the rest of the text, or that
/// what came is void. A refused answer is dropped, and stays charged.
pub(crate) fn answer(
    side: &Side,
    live: &LiveStream,
    called: &mut Called,
    found: &mut Vec<Finding>,
) -> Option<Refused> {
    let refused = match (&mut called.result, live.refused()) {
        (_, Some(class)) => {
            let mut tally = Tally::default();
            tally.count(class);
            found.extend(findings(side, Direction::Output, &tally));
            let place = "what the model wrote".to_owned();
            Some(Refused { class, place })
        }
        (Ok((done, _)), None) => {
            let (more, result) = output(side, done);
            found.extend(more);
            result.err()
        }
        (Err(_), None) => None,
    };
    match &refused {
        Some(refused) => {
            live.restart(REFUSED);
            called.result = Err(Ended::Failed(Failure::Permanent {
                status: None,
                code: REFUSED.to_owned(),
                message: refused.message(),
            }));
            called.then = Then::End;
        }
        None if called.result.is_ok() => live.finish(),
        None => {}
    }
    refused
}

/// The outcome of a call that was not made.
pub(crate) fn not_called(
    grant: &ReservationGranted,
    refused: &Refused,
    findings: Vec<Finding>,
) -> ModelOutcome {
    ModelOutcome::Failed(LlmFailed {
        turn: grant.turn,
        code: REFUSED.to_owned(),
        message: refused.message(),
        usage: Default::default(),
        cost_usd_micros: 0,
        duration_ms: 0,
        attempts: 0,
        findings,
        again: None,
        routing: None,
    })
}

/// Adds to an outcome what was found and what was refused. What a provider says of its failure is its
/// words too, and is filtered.
pub(crate) fn note(
    side: &Side,
    outcome: &mut ModelOutcome,
    refused: Option<Refused>,
    found: Vec<Finding>,
) {
    match outcome {
        ModelOutcome::Completed(done) => done.findings = found,
        ModelOutcome::Failed(failed) => {
            failed.findings = found;
            let checked = side.check(&failed.message, &mut Tally::default());
            if let Some(refused) = refused {
                failed.message = refused.message();
            } else if checked.refused.is_some() {
                failed.message = "what the provider says of it is withheld".to_owned();
            } else if let Some(filtered) = checked.text {
                failed.message = filtered;
            }
        }
        ModelOutcome::Aborted(_) | ModelOutcome::Summarised(_) | ModelOutcome::Embedded(_) => {}
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use nexus_content::{FilterConfig, Setting};
    use nexus_events::content::Action;
    use nexus_events::model::{FinishReason, ToolCall};
    use serde_json::json;

    use super::*;

    fn side(class: Class, setting: Setting) -> Side {
        let config = FilterConfig {
            input: [(class, setting)].into(),
            ..FilterConfig::default()
        };
        Filters::new(&config).unwrap().of("acme").input.clone()
    }

    fn messages() -> Vec<Message> {
        let text = "anna@example.test".to_owned();
        let call = ToolCall {
            id: "a".to_owned(),
            name: "mail".to_owned(),
            arguments: json!({ "to": "anna@example.test" }),
        };
        vec![
            Message::User {
                text: "hello".to_owned(),
            },
            Message::Assistant {
                text: String::new(),
                tool_calls: vec![call],
            },
            Message::Tool {
                call_id: "a".to_owned(),
                name: "mail".to_owned(),
                text,
            },
        ]
    }

    #[test]
    fn all_that_goes_to_the_model_is_filtered() {
        let mut said = messages();
        let (found, result) = input(&side(Class::Email, Setting::Redact), &mut said);
        result.unwrap();
        let count = Finding {
            direction: Direction::Input,
            class: Class::Email,
            action: Action::Redact,
            count: 2,
        };
        assert_eq!(found, [count]);
        let all = format!("{said:?}");
        assert!(
            !all.contains('@') && all.matches("[redacted:email]").count() == 2,
            "{all}"
        );
    }

    #[test]
    fn what_is_refused_is_named_and_not_said() {
        let (found, result) = input(&side(Class::Email, Setting::Refuse), &mut messages());
        let message = result.unwrap_err().message();
        assert_eq!(
            message,
            "the content filter refuses email in what the model said before, message 2 of 3"
        );
        assert_eq!(found[0].action, Action::Refuse);
    }

    #[test]
    fn tool_calls_of_an_answer_are_part_of_it() {
        let Message::Assistant { tool_calls, .. } = messages().remove(1) else {
            return;
        };
        let mut done = Completion {
            text: "write to anna@example.test".to_owned(),
            tool_calls,
            finish: FinishReason::ToolCalls,
            usage: Default::default(),
            response_id: None,
            response_model: None,
            time_to_first_token: None,
        };
        let (found, result) = output(&side(Class::Email, Setting::Redact), &mut done);
        result.unwrap();
        assert_eq!(found[0].count, 2);
        assert_eq!(done.text, "write to [redacted:email]");
        assert_eq!(
            done.tool_calls[0].arguments,
            json!({ "to": "[redacted:email]" })
        );
    }
}

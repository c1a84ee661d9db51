//! Faults chosen by the model's name, for callers that cannot reach the control route.
//!
//! `fault:` and a comma-separated list, over the default behaviour:
//!
//! | item | effect |
//! | --- | --- |
//! | `hang`, `hang=N` | no answer; no more after N pieces |
//! | `cut=N`, `cut-bytes=N` | the connection is cut after N pieces, or bytes |
//! | `malformed=N`, `error=N` | a piece that is no JSON, or an error object, after N pieces |
//! | `400`, `401`, `429`, `429=S`, `500`, `503` … | that status, `Retry-After: S` |
//! | `first=MS`, `delay=MS` | delay before the first byte, before each piece |
//! | `no-usage`, `lie=IN/OUT` | no usage report, a wrong one |
//! | `no-finish`, `unknown-enums`, `length` | as [`Fault`] says; finish reason `length` |
//! | `words=N`, `chunks=N` | an answer of N words; in N pieces |

use crate::script::{Fault, Reply, UsageReport, WireTokens};

/// Most words that a model name can ask for.
const MAX_WORDS: usize = 100_000;

/// The reply that a model name asks for, if it names faults. An item that is not known is an error
/// with that item, so that a misspelt fault cannot pass for a healthy answer.
pub fn from_model(model: &str) -> Option<Result<Reply, String>> {
    let list = model.strip_prefix("fault:")?;
    Some(list.split(',').try_fold(Reply::default(), apply))
}

fn apply(mut reply: Reply, item: &str) -> Result<Reply, String> {
    let unknown = || format!("unknown fault {item:?}");
    let (name, value) = match item.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (item, None),
    };
    let number = value.and_then(|v| v.parse::<u64>().ok());
    let count = number.and_then(|n| usize::try_from(n).ok());
    match (name, count) {
        ("hang", None) => reply.fault = Some(Fault::Hang),
        ("hang", Some(n)) => reply.fault = Some(Fault::HangAfter(n)),
        ("cut", n) => reply.fault = Some(Fault::CutAfter(n.unwrap_or(1))),
        ("cut-bytes", Some(n)) => reply.fault = Some(Fault::CutAfterBytes(n)),
        ("malformed", n) => reply.fault = Some(Fault::Malformed(n.unwrap_or(1))),
        ("error", n) => reply.fault = Some(Fault::ErrorInStream(n.unwrap_or(1))),
        ("no-finish", None) => reply.fault = Some(Fault::NoFinish),
        ("unknown-enums", None) => reply.fault = Some(Fault::UnknownEnums),
        ("length", None) => reply.finish_reason = Some("length".into()),
        ("no-usage", None) => reply.usage = UsageReport::Missing,
        ("lie", None) => reply.usage = value.and_then(lie).ok_or_else(unknown)?,
        ("first", Some(_)) => reply.first_byte_delay_ms = number.unwrap_or_default(),
        ("delay", Some(_)) => reply.chunk_delay_ms = number.unwrap_or_default(),
        ("chunks", Some(n)) => reply.chunks = Some(n),
        ("words", Some(n)) => reply.text = Some(words(n.min(MAX_WORDS))),
        _ => reply.fault = Some(status(name, number).ok_or_else(unknown)?),
    }
    Ok(reply)
}

fn status(name: &str, retry_after_s: Option<u64>) -> Option<Fault> {
    let status = name.parse().ok().filter(|s| (400..600).contains(s))?;
    Some(Fault::Status {
        status,
        retry_after_s,
        code: None,
        message: None,
    })
}

fn lie(value: &str) -> Option<UsageReport> {
    let (input, output) = value.split_once('/')?;
    Some(UsageReport::Lie(WireTokens {
        input: input.parse().ok()?,
        output: output.parse().ok()?,
        ..WireTokens::default()
    }))
}

fn words(n: usize) -> String {
    vec!["word"; n].join(" ")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn items_combine() {
        let reply = from_model("fault:delay=5,words=3,cut=2,lie=7/9")
            .unwrap()
            .unwrap();
        assert_eq!(reply.chunk_delay_ms, 5);
        assert_eq!(reply.text.as_deref(), Some("word word word"));
        assert_eq!(reply.fault, Some(Fault::CutAfter(2)));
        let lie = WireTokens {
            input: 7,
            output: 9,
            ..WireTokens::default()
        };
        assert_eq!(reply.usage, UsageReport::Lie(lie));
    }

    #[test]
    fn a_misspelt_fault_is_an_error_and_another_name_is_none() {
        assert!(from_model("gpt-4o").is_none());
        for bad in [
            "fault:hagn",
            "fault:",
            "fault:200",
            "fault:lie=3",
            "fault:cut-bytes",
        ] {
            assert!(from_model(bad).unwrap().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_status_may_carry_a_retry_after() {
        let reply = from_model("fault:429=3").unwrap().unwrap();
        assert!(matches!(
            reply.fault,
            Some(Fault::Status {
                status: 429,
                retry_after_s: Some(3),
                ..
            })
        ));
    }
}

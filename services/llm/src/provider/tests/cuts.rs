//! A short answer broken off at every byte of its stream: what is left is a failure or the whole
//! answer, and what is charged is never below what the server sent.

use nexus_modelserver::{Counters, Fault, ScriptedCall};

use super::*;

on_each_wire! {
    a_cut_at_every_byte_is_no_answer_no_call_and_no_free_lunch,
    a_malformed_piece_at_every_place_is_a_failure_or_nothing,
}

fn answers() -> [Reply; 2] {
    let call = |name: &str| ScriptedCall {
        chunks: Some(1),
        ..ScriptedCall::new(name, &json!({ "x": "ü" }))
    };
    let text = Reply {
        chunks: Some(2),
        ..Reply::text("All → there.")
    };
    let calls = Reply {
        text: Some("So:".into()),
        ..Reply::tools([call("a"), call("b")])
    };
    [text, calls]
}

async fn a_cut_at_every_byte_is_no_answer_no_call_and_no_free_lunch(wire: Wire) {
    for reply in answers() {
        let setup = setup(wire, [reply.clone()]).await;
        let request = ask("m", "hello");
        let whole = setup.complete(&request).await.0.unwrap();
        assert!(!whole.usage.estimated);
        let mut answered = 0;
        for bytes in 0.. {
            let cut = Reply {
                fault: Some(Fault::CutAfterBytes(bytes)),
                ..reply.clone()
            };
            setup.server.set_script(Script::queue([cut]));
            let (outcome, heard) = setup.complete(&request).await;
            let (sent, usage) = (setup.sent(), usage(&outcome));
            assert!(usage.input_tokens >= sent.input_tokens, "at {bytes}");
            // What was cut within a piece never reached us: the server counts the piece.
            let received = received(&heard);
            assert!(
                usage.output_tokens >= received,
                "at {bytes}: {usage:?} {received}"
            );
            match outcome {
                Ok(completion) => {
                    assert_eq!(completion.tool_calls, whole.tool_calls, "at {bytes}");
                    assert_eq!(completion.text, whole.text, "at {bytes}");
                    answered += 1;
                }
                Err(error) => {
                    let cut = matches!(error.failure, Failure::Truncated { .. });
                    assert!(cut, "at {bytes}: {error:?}");
                    assert!(usage.estimated, "at {bytes}");
                    assert!(whole.text.starts_with(&error.partial.text));
                    assert_eq!(error.partial.text, heard.text);
                }
            }
            // The cut that comes after the last byte cuts nothing.
            if answered > 40 {
                break;
            }
        }
    }
}

/// Tokens of the pieces that arrived, as the server counts them.
fn received(heard: &Heard) -> u64 {
    let bytes = heard.text.len() + heard.arguments.iter().map(String::len).sum::<usize>();
    bytes.div_ceil(4) as u64
}

fn usage(outcome: &Result<Completion, ProviderError>) -> Usage {
    match outcome {
        Ok(completion) => completion.usage,
        Err(error) => error.partial.usage,
    }
}

async fn a_malformed_piece_at_every_place_is_a_failure_or_nothing(wire: Wire) {
    for reply in answers() {
        for at in 0..20 {
            for fault in [Fault::Malformed(at), Fault::ErrorInStream(at)] {
                let broken = Reply {
                    fault: Some(fault.clone()),
                    ..reply.clone()
                };
                let setup = setup(wire, [broken]).await;
                let (outcome, heard) = setup.complete(&ask("m", "hello")).await;
                let Counters { input_tokens, .. } = setup.server.counters();
                let usage = usage(&outcome);
                assert!(usage.input_tokens >= input_tokens, "{fault:?}");
                assert!(usage.output_tokens >= received(&heard), "{fault:?}");
                if let Err(error) = outcome {
                    let told = matches!(
                        error.failure,
                        Failure::Malformed { .. } | Failure::Transient { .. }
                    );
                    assert!(told, "{fault:?}: {error:?}");
                }
            }
        }
    }
}

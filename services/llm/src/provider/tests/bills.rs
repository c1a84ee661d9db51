//! What calls are charged, against what the server really took and sent.

use nexus_modelserver::{Fault, UsageReport, WireTokens};

use super::*;

#[tokio::test]
async fn reported_usage_is_what_the_server_counted() {
    let setup = setup([]).await;
    let requests = [
        ask("m", "hello"),
        with_calculator(ask("m", "What is 12*7?")),
        ask("fault:words=500,chunks=90", "hello"),
    ];
    let mut total = Usage::default();
    for request in &requests {
        let usage = setup.complete(request).await.0.unwrap().usage;
        assert!(!usage.estimated);
        total.input_tokens += usage.input_tokens;
        total.output_tokens += usage.output_tokens;
    }
    let counted = setup.server.counters();
    assert_eq!(total.input_tokens, counted.input_tokens);
    assert_eq!(total.output_tokens, counted.output_tokens);
}

#[tokio::test]
async fn what_was_not_reported_is_bounded_from_above() {
    for fault in [
        "fault:no-usage",
        "fault:cut=4",
        "fault:cut-bytes=900",
        "fault:malformed=5",
        "fault:error=3",
        "fault:no-finish,no-usage",
        "fault:lie=0/0",
    ] {
        let setup = setup([]).await;
        let request = with_calculator(ask(fault, "say: one two three → 12 / 7 \"quoted\""));
        let usage = match setup.complete(&request).await.0 {
            Ok(completion) => completion.usage,
            Err(error) => error.partial.usage,
        };
        let counted = setup.server.counters();
        assert!(usage.estimated, "{fault}");
        assert!(
            usage.input_tokens >= counted.input_tokens,
            "{fault}: {usage:?} {counted:?}"
        );
        assert!(usage.output_tokens <= u64::from(request.max_tokens));
        // What the server handed over and the cut then lost never reached us.
        let lost = if fault.contains("cut") { 2 } else { 0 };
        assert!(
            usage.output_tokens + lost >= counted.output_tokens,
            "{fault}: {usage:?} {counted:?}"
        );
    }
}

#[tokio::test]
async fn the_callers_own_bound_and_hidden_output_count() {
    let setup = setup([]).await;
    let mut request = ask("fault:cut=3", "hello");
    request.input_bound = Some(21);
    request.hidden_output = true;
    let usage = setup.fails(&request).await.partial.usage;
    assert_eq!((usage.input_tokens, usage.output_tokens), (21, 1_000));
}

#[tokio::test]
async fn figures_are_taken_over_as_reported_even_above_what_was_allowed() {
    let report = WireTokens {
        input: 40,
        output: 5_000,
        cached: 90,
    };
    let setup = setup([Reply {
        usage: UsageReport::Lie(report),
        ..Reply::text("hi")
    }])
    .await;
    let usage = setup.complete(&ask("m", "hello")).await.0.unwrap().usage;
    let expected = Usage {
        input_tokens: 40,
        output_tokens: 5_000,
        // More cached than there was cannot be.
        cached_input_tokens: 40,
        estimated: false,
    };
    assert_eq!(usage, expected);
}

#[tokio::test]
async fn a_refused_call_is_free_and_a_broken_one_is_not() {
    let setup = setup([
        Reply::fault(Fault::Status {
            status: 503,
            retry_after_s: None,
            code: None,
            message: None,
        }),
        Reply::fault(Fault::CutAfter(1)),
    ])
    .await;
    let request = ask("m", "hello");
    assert_eq!(setup.fails(&request).await.partial.usage, Usage::default());
    let cut = setup.fails(&request).await.partial.usage;
    assert!(cut.input_tokens > 0 && cut.output_tokens == 0 && cut.estimated);
}

//! What calls are charged, against what the server really took and sent.

use nexus_modelserver::{Fault, UsageReport, WireTokens};

use super::*;

on_each_wire! {
    reported_usage_is_what_the_server_counted,
    what_was_not_reported_is_bounded_from_above,
    the_callers_own_bound_and_hidden_output_count,
    figures_are_taken_over_as_reported_even_above_what_was_allowed,
    a_refused_call_is_free_and_a_broken_one_is_not,
}

async fn reported_usage_is_what_the_server_counted(wire: Wire) {
    let setup = setup(wire, []).await;
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

async fn what_was_not_reported_is_bounded_from_above(wire: Wire) {
    for fault in [
        "fault:no-usage",
        "fault:cut=4",
        "fault:cut-bytes=900",
        "fault:malformed=5",
        "fault:error=3",
        "fault:no-finish,no-usage",
        "fault:lie=0/0",
    ] {
        let setup = setup(wire, []).await;
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

async fn the_callers_own_bound_and_hidden_output_count(wire: Wire) {
    let setup = setup(wire, []).await;
    let mut request = ask("fault:cut=3", "hello");
    request.input_bound = Some(21);
    request.hidden_output = true;
    let usage = setup.fails(&request).await.partial.usage;
    let input_tokens = match wire {
        Wire::Openai => 21,
        // It says first of all what the prompt was.
        Wire::Anthropic => setup.sent().input_tokens,
    };
    assert_eq!(
        (usage.input_tokens, usage.output_tokens),
        (input_tokens, 1_000)
    );
}

async fn figures_are_taken_over_as_reported_even_above_what_was_allowed(wire: Wire) {
    let report = WireTokens {
        input: 40,
        output: 5_000,
        cached: 90,
        ..WireTokens::default()
    };
    let setup = setup(
        wire,
        [Reply {
            usage: UsageReport::Lie(report),
            ..Reply::text("hi")
        }],
    )
    .await;
    let usage = setup.complete(&ask("m", "hello")).await.0.unwrap().usage;
    // More cached than there was cannot be; Anthropic's figures do not overlap, and are believed.
    let input_tokens = match wire {
        Wire::Openai => 40,
        Wire::Anthropic => 90,
    };
    let expected = Usage {
        input_tokens,
        output_tokens: 5_000,
        cached_input_tokens: input_tokens,
        ..Usage::default()
    };
    assert_eq!(usage, expected);
}

async fn a_refused_call_is_free_and_a_broken_one_is_not(wire: Wire) {
    let setup = setup(
        wire,
        [
            Reply::fault(Fault::Status {
                status: 503,
                retry_after_s: None,
                code: None,
                message: None,
            }),
            Reply::fault(Fault::CutAfter(1)),
        ],
    )
    .await;
    let request = ask("m", "hello");
    assert_eq!(setup.fails(&request).await.partial.usage, Usage::default());
    let cut = setup.fails(&request).await.partial.usage;
    assert!(cut.input_tokens > 0 && cut.output_tokens <= 1 && cut.estimated);
}

//! Each way in which a provider fails, and what the caller is told.

use nexus_modelserver::Fault;

use super::*;

on_each_wire! {
    statuses_are_told_apart_and_tried_once,
    no_message_shows_the_key_or_is_long,
    a_cut_stream_is_truncated_and_keeps_what_came,
    broken_chunks_and_errors_in_the_stream,
    a_deadline_ends_a_call_wherever_it_hangs,
    a_deadline_that_has_passed_sends_nothing,
    a_cancelled_call_keeps_what_came_and_frees_the_server,
    silence_is_a_failure_after_the_idle_timeout,
    a_server_that_is_not_there_is_transient_and_free,
    sizes_are_bounded,
    an_answer_that_was_complete_survives_what_follows,
}

fn status(status: u16, code: Option<&str>, retry_after_s: Option<u64>, message: &str) -> Reply {
    Reply::fault(Fault::Status {
        status,
        retry_after_s,
        code: code.map(str::to_owned),
        message: Some(message.to_owned()),
    })
}

async fn statuses_are_told_apart_and_tried_once(wire: Wire) {
    let passing = [
        (429, Some(7)),
        (500, None),
        (503, Some(2)),
        (529, Some(1)),
        (408, None),
    ];
    for (code, wait) in passing {
        let setup = setup(wire, [status(code, None, wait, "busy")]).await;
        let error = setup.fails(&ask("m", "hello")).await;
        let expected = Failure::Transient {
            status: Some(code),
            retry_after: wait.map(Duration::from_secs),
            message: "busy".into(),
        };
        assert_eq!(error.failure, expected);
        assert_eq!(error.partial.usage, Usage::default());
        assert_eq!(setup.server.counters().calls, 1);
    }
    let unauthorised = match wire {
        Wire::Openai => "invalid_api_key",
        Wire::Anthropic => "authentication_error",
    };
    for (code, name, expected) in [
        (400, None, "invalid_request_error"),
        (
            400,
            Some("context_length_exceeded"),
            "context_length_exceeded",
        ),
        (401, None, unauthorised),
        (404, Some("model_not_found"), "model_not_found"),
        (429, Some("insufficient_quota"), "insufficient_quota"),
    ] {
        let setup = setup(wire, [status(code, name, None, "no")]).await;
        let error = setup.fails(&ask("m", "hello")).await;
        assert!(matches!(error.failure, Failure::Permanent { status: Some(s), .. } if s == code));
        assert_eq!(error.failure.code(), expected);
        assert_eq!(error.partial.usage, Usage::default());
    }
}

async fn no_message_shows_the_key_or_is_long(wire: Wire) {
    let words = format!("Incorrect API key provided: {KEY}. {}", "x".repeat(100_000));
    let setup = setup(
        wire,
        [
            status(401, None, None, &words),
            status(500, None, None, &words),
        ],
    )
    .await;
    for _ in 0..2 {
        let error = setup.fails(&ask("m", "hello")).await;
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(!shown.contains(KEY), "{shown}");
            assert!(shown.len() < 2_000);
        }
    }
    let config = format!("{:?}", Secret::from(KEY.to_owned()));
    assert!(!config.contains(KEY));
}

async fn a_cut_stream_is_truncated_and_keeps_what_came(wire: Wire) {
    let text = || Reply {
        chunks: Some(5),
        ..Reply::text("abcdefghij")
    };
    for fault in [
        Fault::CutAfter(wire.before_text() + 2),
        Fault::CutAfterBytes(900),
        Fault::NoFinish,
    ] {
        let setup = setup(
            wire,
            [Reply {
                fault: Some(fault.clone()),
                ..text()
            }],
        )
        .await;
        let (outcome, heard) = setup.complete(&ask("m", "hello")).await;
        let error = outcome.unwrap_err();
        assert!(
            matches!(error.failure, Failure::Truncated { .. }),
            "{fault:?}: {error:?}"
        );
        assert_eq!(error.partial.text, heard.text);
        assert!("abcdefghij".starts_with(&error.partial.text) && !heard.text.is_empty());
    }
    // Nothing at all came: also not an empty answer.
    let setup = setup(wire, [Reply::fault(Fault::CutAfter(0))]).await;
    let error = setup.fails(&ask("m", "hello")).await;
    assert!(
        matches!(error.failure, Failure::Truncated { .. }),
        "{error:?}"
    );
}

async fn broken_chunks_and_errors_in_the_stream(wire: Wire) {
    let setup = setup(wire, []).await;
    let error = setup
        .fails(&ask(
            &format!("fault:malformed={}", wire.before_text() + 2),
            "one two three",
        ))
        .await;
    assert!(
        matches!(error.failure, Failure::Malformed { .. }),
        "{error:?}"
    );
    assert_eq!(error.partial.text, "You said: ");
    let error = setup.fails(&ask("fault:error=2", "hello")).await;
    assert!(
        matches!(error.failure, Failure::Transient { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("The server had an error"));
    assert!(error.partial.usage.estimated);
}

async fn a_deadline_ends_a_call_wherever_it_hangs(wire: Wire) {
    let in_text = format!("fault:hang={}", wire.before_text() + 1);
    for (model, text) in [
        ("fault:hang", ""),
        (&in_text, "You "),
        ("fault:first=60000", ""),
    ] {
        let setup = setup(wire, []).await;
        let (outcome, _) = setup
            .complete_within(&ask(model, "hello"), &after(150))
            .await;
        let error = outcome.unwrap_err();
        assert_eq!(error.failure, Failure::DeadlineExceeded);
        assert_eq!(error.partial.text, text);
        assert!(error.partial.usage.estimated && error.partial.usage.input_tokens > 0);
        // The provider is told by the connection's end, and can stop generating.
        assert!(
            setup
                .server
                .wait_until(PATIENCE, |c| c.abandoned == 1)
                .await
        );
    }
}

async fn a_deadline_that_has_passed_sends_nothing(wire: Wire) {
    let setup = setup(wire, []).await;
    let (outcome, _) = setup.complete_within(&ask("m", "hello"), &after(0)).await;
    let error = outcome.unwrap_err();
    assert_eq!(error.failure, Failure::DeadlineExceeded);
    assert_eq!(error.partial.usage, Usage::default());
    assert_eq!(setup.server.counters().calls, 0);
}

async fn a_cancelled_call_keeps_what_came_and_frees_the_server(wire: Wire) {
    let setup = setup(wire, []).await;
    let limits = CallLimits::default();
    let mut text = String::new();
    let mut sink = |delta: Delta<'_>| {
        if let Delta::Text(more) = delta {
            text.push_str(more);
            limits.cancel.cancel();
        }
    };
    let request = ask("fault:delay=20,words=10000", "hello");
    let error = setup
        .provider
        .complete(&request, &limits, &mut sink)
        .await
        .unwrap_err();
    assert_eq!(error.failure, Failure::Cancelled);
    assert!(!text.is_empty() && error.partial.text == text);
    assert!(
        setup
            .server
            .wait_until(PATIENCE, |c| c.abandoned == 1)
            .await
    );
}

async fn silence_is_a_failure_after_the_idle_timeout(wire: Wire) {
    let setup = setup_with(wire, [], |config| config.idle_timeout_ms = 100).await;
    let error = setup.fails(&ask("fault:hang", "hello")).await;
    assert!(
        matches!(error.failure, Failure::Transient { .. }),
        "{error:?}"
    );
    assert!(error.partial.usage.estimated);
    let error = setup.fails(&ask("fault:hang=2", "hello")).await;
    assert!(
        matches!(error.failure, Failure::Truncated { .. }),
        "{error:?}"
    );
}

async fn a_server_that_is_not_there_is_transient_and_free(wire: Wire) {
    let setup = setup(wire, []).await;
    setup.server.shutdown().await;
    let request = ask("m", "hello");
    let outcome = setup
        .provider
        .complete(&request, &CallLimits::default(), &mut |_| {})
        .await
        .unwrap_err();
    assert!(
        matches!(outcome.failure, Failure::Transient { status: None, .. }),
        "{outcome:?}"
    );
    assert_eq!(outcome.partial.usage, Usage::default());
}

async fn sizes_are_bounded(wire: Wire) {
    let small = |config: &mut ProviderConfig| config.max_answer_bytes = 1_000;
    let setup = setup_with(wire, [Reply::text("word ".repeat(10_000))], small).await;
    let error = setup.fails(&ask("m", "hello")).await;
    assert!(
        matches!(error.failure, Failure::Malformed { .. }),
        "{error:?}"
    );
    assert!(error.partial.text.len() <= 1_000);

    let line = Reply {
        chunks: Some(1),
        ..Reply::text("x".repeat(5 << 20))
    };
    let call = nexus_modelserver::ScriptedCall::new("a", &json!({}));
    let many = Reply::tools(vec![call; 200]);
    let setup = setup_with(wire, [line, many], |config| {
        config.max_answer_bytes = 64 << 20
    })
    .await;
    for expected in ["too long", "more than 128 tool calls"] {
        let request = ChatRequest {
            max_tokens: u32::MAX,
            ..ask("m", "hello")
        };
        let error = setup.fails(&request).await;
        assert!(
            matches!(&error.failure, Failure::Malformed { message } if message.contains(expected))
        );
    }
}

async fn an_answer_that_was_complete_survives_what_follows(wire: Wire) {
    // Two words and the finish reason; then no end.
    let pieces = match wire {
        Wire::Openai => 4,
        Wire::Anthropic => 7,
    };
    let setup = setup(
        wire,
        [Reply {
            fault: Some(Fault::HangAfter(pieces)),
            ..Reply::text("all there")
        }],
    )
    .await;
    let completion = setup.complete(&ask("m", "hello")).await.0.unwrap();
    assert_eq!(completion.text, "all there");
    assert_eq!(completion.usage.estimated, wire == Wire::Openai);
}

//! Whole answers: text, tool calls, what is sent and what is read leniently.

use nexus_modelserver::{Fault, ScriptedCall};
use serde_json::Value;

use super::*;

on_each_wire! {
    text_is_streamed_and_returned,
    parallel_tool_calls_come_together_from_their_fragments,
    arguments_that_are_no_json_arrive_as_a_string,
    a_whole_conversation_is_sent_by_the_protocol,
    unknown_enum_values_and_fields_are_no_failure,
    max_tokens_ends_an_answer_with_its_reason,
    calls_in_the_text_become_calls_and_are_not_streamed_as_text,
    connections_are_used_again,
}

async fn text_is_streamed_and_returned(wire: Wire) {
    let setup = setup(wire, [Reply::text("The answer is 84 — genau.")]).await;
    let (outcome, heard) = setup.complete(&ask("m", "hello")).await;
    let completion = outcome.unwrap();
    assert_eq!(completion.text, "The answer is 84 — genau.");
    assert_eq!(heard.text, completion.text);
    assert!(heard.fragments > 3);
    assert_eq!(completion.finish, FinishReason::Stop);
    let id = match wire {
        Wire::Openai => "chatcmpl-1",
        Wire::Anthropic => "msg-1",
    };
    assert_eq!(completion.response_id.as_deref(), Some(id));
    assert_eq!(completion.response_model.as_deref(), Some("m"));
    assert!(completion.time_to_first_token.is_some());
}

async fn parallel_tool_calls_come_together_from_their_fragments(wire: Wire) {
    let call = |name: &str, arguments: Value| ScriptedCall {
        chunks: Some(7),
        ..ScriptedCall::new(name, &arguments)
    };
    let calls = [
        call("a", json!({ "x": [1, 2], "y": "ü" })),
        call("b", json!({})),
    ];
    let setup = setup(wire, [Reply::tools(calls)]).await;
    let (outcome, heard) = setup.complete(&with_calculator(ask("m", "go"))).await;
    let completion = outcome.unwrap();
    assert_eq!(completion.finish, FinishReason::ToolCalls);
    let ids: Vec<_> = completion
        .tool_calls
        .iter()
        .map(|c| c.id.as_str())
        .collect();
    assert_eq!(ids, ["call_0", "call_1"]);
    assert_eq!(
        completion.tool_calls[0].arguments,
        json!({ "x": [1, 2], "y": "ü" })
    );
    let told: Value = serde_json::from_str(&heard.arguments[0]).unwrap();
    assert_eq!(told, completion.tool_calls[0].arguments);
}

async fn arguments_that_are_no_json_arrive_as_a_string(wire: Wire) {
    let call = ScriptedCall {
        name: "calculator".into(),
        arguments: "{\"expression\": 12*".into(),
        ..ScriptedCall::default()
    };
    let setup = setup(wire, [Reply::tools([call])]).await;
    let completion = setup.complete(&ask("m", "go")).await.0.unwrap();
    assert_eq!(
        completion.tool_calls[0].arguments,
        json!("{\"expression\": 12*")
    );
}

async fn a_whole_conversation_is_sent_by_the_protocol(wire: Wire) {
    let setup = setup(wire, []).await;
    let mut request = with_calculator(ask("m", "What is 12*7?"));
    let asked = setup.complete(&request).await.0.unwrap();
    assert_eq!(
        asked.tool_calls[0].arguments,
        json!({ "expression": "12*7" })
    );
    let call = asked.tool_calls[0].clone();
    request.messages.push(Message::Assistant {
        text: String::new(),
        tool_calls: asked.tool_calls,
    });
    request.messages.push(Message::Tool {
        call_id: call.id,
        name: call.name,
        text: "84".into(),
    });
    request.temperature = Some(0.5);
    let answered = setup.complete(&request).await.0.unwrap();
    assert_eq!(answered.text, "The result is 84.");

    let recorded = setup.server.recorded();
    assert_eq!(recorded[1].authorization, Some(wire.sent_key(KEY)));
    let body = recorded[1].json();
    assert_eq!(
        (&body["max_tokens"], &body["temperature"]),
        (&json!(1_000), &json!(0.5))
    );
    match wire {
        Wire::Openai => openai_conversation(&body),
        Wire::Anthropic => anthropic_conversation(&body),
    }
}

fn openai_conversation(body: &Value) {
    assert_eq!(body["stream_options"]["include_usage"], true);
    assert_eq!(
        body["messages"][0],
        json!({ "role": "system", "content": "Be brief." })
    );
    let arguments = &body["messages"][2]["tool_calls"][0]["function"]["arguments"];
    assert_eq!(arguments, r#"{"expression":"12*7"}"#);
    assert_eq!(body["messages"][3]["tool_call_id"], "call_0");
    assert_eq!(body["tools"][0]["function"]["name"], "calculator");
    assert!(body.get("tool_choice").is_none() && body.get("response_format").is_none());
}

fn anthropic_conversation(body: &Value) {
    let cached = json!({ "type": "ephemeral" });
    let system = json!([{ "type": "text", "text": "Be brief.", "cache_control": cached }]);
    assert_eq!(body["system"], system);
    let call = json!({ "type": "tool_use", "id": "call_0", "name": "calculator",
        "input": { "expression": "12*7" } });
    let result = json!({ "type": "tool_result", "tool_use_id": "call_0", "content": "84",
        "cache_control": cached });
    let messages = json!([
        { "role": "user", "content": [{ "type": "text", "text": "What is 12*7?" }] },
        { "role": "assistant", "content": [call] },
        { "role": "user", "content": [result] },
    ]);
    assert_eq!(body["messages"], messages);
    assert_eq!(body["tools"][0]["name"], "calculator");
    assert!(body.get("tool_choice").is_none() && body.get("output_config").is_none());
}

#[tokio::test]
async fn openai_itself_is_told_max_completion_tokens() {
    let request = ask("m", "hello");
    let body = |at_openai| serde_json::to_value(wire::Body::new(&request, at_openai)).unwrap();
    assert_eq!(body(true)["max_completion_tokens"], 1_000);
    assert!(body(true).get("max_tokens").is_none());
    assert!(body(false).get("max_completion_tokens").is_none());
}

async fn unknown_enum_values_and_fields_are_no_failure(wire: Wire) {
    let setup = setup(wire, [Reply::fault(Fault::UnknownEnums)]).await;
    let completion = setup.complete(&ask("m", "hello")).await.0.unwrap();
    assert_eq!(completion.text, "You said: hello");
    assert_eq!(completion.finish, FinishReason::Stop);
    assert!(!completion.usage.estimated);
}

async fn max_tokens_ends_an_answer_with_its_reason(wire: Wire) {
    let setup = setup(wire, [Reply::text("one two three four")]).await;
    let request = ChatRequest {
        max_tokens: 2,
        ..ask("m", "count")
    };
    let completion = setup.complete(&request).await.0.unwrap();
    assert_eq!(completion.finish, FinishReason::Length);
    assert!(completion.usage.output_tokens <= 2);
}

async fn calls_in_the_text_become_calls_and_are_not_streamed_as_text(wire: Wire) {
    let text = "Let me see.\n```json\n{\"name\": \"calculator\", \
        \"arguments\": {\"expression\": \"1234*77\"}}\n```";
    let reply = Reply {
        chunks: Some(40),
        ..Reply::text(text)
    };
    let setup = setup_with(wire, [reply.clone(), reply], |config| {
        config.tool_calls_in_text = Some(true)
    })
    .await;
    let (outcome, heard) = setup.complete(&with_calculator(ask("m", "go"))).await;
    let completion = outcome.unwrap();
    assert_eq!(completion.finish, FinishReason::ToolCalls);
    assert_eq!(
        completion.tool_calls[0].arguments,
        json!({ "expression": "1234*77" })
    );
    assert_eq!(completion.tool_calls[0].id, "call_2_0");
    assert_eq!(
        (heard.text.as_str(), completion.text.as_str()),
        ("Let me see.\n", "Let me see.\n")
    );
    assert_eq!(heard.arguments, [r#"{"expression":"1234*77"}"#]);

    // No tool was offered: it is the answer.
    let plain = setup.complete(&ask("m", "go")).await.0.unwrap();
    assert_eq!(plain.text, text);
}

async fn connections_are_used_again(wire: Wire) {
    let setup = setup(wire, []).await;
    for _ in 0..10 {
        setup.complete(&ask("m", "hello")).await.0.unwrap();
    }
    assert_eq!(setup.server.counters().connections, 1);
}

#[tokio::test]
async fn the_local_model_is_asked_where_it_says_it_is() {
    install_tls();
    let servers = [
        ModelServer::start(Options::default()).await.unwrap(),
        ModelServer::start(Options::default()).await.unwrap(),
    ];
    let urls = std::sync::Mutex::new(vec![
        Err("no weights: run `nexus doctor`".to_owned()),
        Ok(servers[1].base_url()),
        Ok(servers[0].base_url()),
    ]);
    let endpoint: EndpointResolver = std::sync::Arc::new(move || {
        let url = urls.lock().unwrap().pop().unwrap();
        Box::pin(async move { url })
    });
    let local = LocalProvider::new(&ProviderConfig::new("local", ProviderKind::Local), endpoint);
    let (local, limits) = (local.unwrap(), CallLimits::default());
    for server in &servers {
        let request = ask("m", "hello");
        local
            .complete(&request, &limits, &mut |_| {})
            .await
            .unwrap();
        assert_eq!(server.counters().completed, 1);
        assert_eq!(server.recorded()[0].authorization, None);
    }
    let error = local
        .complete(&ask("m", "hello"), &limits, &mut |_| {})
        .await
        .unwrap_err();
    assert_eq!(error.failure.code(), "model_unavailable");
    assert!(error.to_string().contains("nexus doctor"));
    assert_eq!(error.partial.usage, Usage::default());
}

//! Forced calls and answers by a schema, as each wire says them.

use super::*;

on_each_wire! {
    calls_are_forced_and_forbidden,
    an_answer_by_a_schema_is_asked_for,
}

async fn body(wire: Wire, change: impl FnOnce(&mut ChatRequest)) -> serde_json::Value {
    let setup = setup(wire, []).await;
    let mut request = with_calculator(ask("m", "hello"));
    change(&mut request);
    setup.complete(&request).await.0.unwrap();
    setup.server.recorded()[0].json()
}

async fn calls_are_forced_and_forbidden(wire: Wire) {
    let named = || ToolChoice::Named("calculator".into());
    let expected = match wire {
        Wire::Openai => [
            json!(null),
            json!("none"),
            json!("required"),
            json!({ "type": "function", "function": { "name": "calculator" } }),
        ],
        Wire::Anthropic => [
            json!(null),
            json!({ "type": "none" }),
            json!({ "type": "any" }),
            json!({ "type": "tool", "name": "calculator" }),
        ],
    };
    let choices = [
        ToolChoice::Auto,
        ToolChoice::None,
        ToolChoice::Required,
        named(),
    ];
    for (choice, expected) in choices.into_iter().zip(expected) {
        let sent = body(wire, |request| request.tool_choice = choice).await;
        assert_eq!(sent["tool_choice"], expected);
    }
    let without_tools = body(wire, |request| {
        request.tools.clear();
        request.tool_choice = named();
    });
    assert!(without_tools.await.get("tool_choice").is_none());
}

async fn an_answer_by_a_schema_is_asked_for(wire: Wire) {
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } } });
    let sent = body(wire, |request| {
        request.response_schema = Some(schema.clone());
        request.stop = vec!["END".into()];
    })
    .await;
    let (found, stop) = match wire {
        Wire::Openai => ("/response_format/json_schema/schema", "stop"),
        Wire::Anthropic => ("/output_config/format/schema", "stop_sequences"),
    };
    assert_eq!(sent.pointer(found), Some(&schema));
    assert_eq!(sent[stop], json!(["END"]));
}

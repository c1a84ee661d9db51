//! What a model cannot do is refused before anything is sent.

use super::registry::build;
use super::*;

const PLAIN: &str = r#"
    [[providers]]
    name = "peer"
    kind = "openai"
    base_url = "URL"
    [[providers.models]]
    name = "plain"
    capabilities = ["chat"]
    [[providers.models]]
    name = "vectors"
    capabilities = ["embeddings"]
    [[providers.models]]
    name = "claude-opus-5-5"
    [[providers.models]]
    name = "other"
"#;

async fn served() -> (ModelServer, Models) {
    install_tls();
    let server = ModelServer::start(Options::default()).await.unwrap();
    let models = build(&PLAIN.replace("URL", &server.base_url()), &[], false).unwrap();
    (server, models)
}

async fn ask_of(models: &Models, model: &str, request: &ChatRequest) -> Result<(), Failure> {
    let provider = models.resolve(model).unwrap().provider;
    let limits = CallLimits::default();
    let outcome = provider.complete(request, &limits, &mut |_| {}).await;
    outcome.map(|_| ()).map_err(|error| {
        assert_eq!(error.partial.usage, Usage::default());
        error.failure
    })
}

#[tokio::test]
async fn what_a_model_cannot_do_is_never_sent() {
    let (server, models) = served().await;
    let plain = ask("m", "hello");
    let tools = with_calculator(plain.clone());
    let forced = ChatRequest {
        tool_choice: ToolChoice::Named("calculator".into()),
        ..tools.clone()
    };
    let schema = ChatRequest {
        response_schema: Some(json!({})),
        ..plain.clone()
    };
    let warm = ChatRequest {
        temperature: Some(0.2),
        ..plain.clone()
    };
    let refused = [
        ("plain", &tools, "calls no tools"),
        ("plain", &schema, "JSON Schema"),
        ("plain", &warm, "temperature"),
        ("vectors", &plain, "answers no conversations"),
        ("peer/vectors", &plain, "answers no conversations"),
        ("claude-opus-5-5", &forced, "tool_choice"),
        ("claude-opus-5-5", &warm, "temperature"),
    ];
    for (model, request, said) in refused {
        let failure = ask_of(&models, model, request).await.unwrap_err();
        assert_eq!(failure.code(), "unsupported_by_model", "{model}");
        assert!(failure.to_string().contains(said), "{failure}");
    }
    let unknown = ChatRequest {
        tool_choice: ToolChoice::Named("gone".into()),
        ..tools.clone()
    };
    let failure = ask_of(&models, "other", &unknown).await.unwrap_err();
    assert_eq!(failure.code(), "tool_not_offered");
    assert_eq!(server.counters().calls, 0);
    let usual = ChatRequest {
        temperature: Some(1.0),
        ..plain.clone()
    };
    for (model, request) in [
        ("plain", &usual),
        ("claude-opus-5-5", &tools),
        ("other", &forced),
        ("other", &schema),
        ("other", &warm),
    ] {
        ask_of(&models, model, request).await.unwrap();
    }
}

#[tokio::test]
async fn runs_are_not_offered_what_makes_vectors() {
    let (_server, models) = served().await;
    let catalog = models.catalog();
    assert!(catalog.get("plain").is_some());
    assert!(catalog.get("vectors").is_none() && catalog.get("peer/vectors").is_none());
    let small = build("", &[("OPENAI_API_KEY", "k")], false).unwrap();
    let small = small.resolve("text-embedding-3-small").unwrap().model;
    assert_eq!(small.capabilities, [Capability::Embeddings].into());
}

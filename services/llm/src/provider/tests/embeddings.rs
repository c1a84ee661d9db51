//! Vectors of texts.

use nexus_modelserver::{Fault, UsageReport};

use super::*;

fn of(texts: &[&str]) -> EmbedRequest {
    EmbedRequest {
        model: "m".into(),
        texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        ..EmbedRequest::default()
    }
}

async fn embed(setup: &Setup, request: &EmbedRequest) -> Result<Embeddings, ProviderError> {
    let limits = CallLimits::default();
    let call = setup.provider.embed(request, &limits);
    tokio::time::timeout(PATIENCE, call).await.unwrap()
}

#[tokio::test]
async fn each_text_has_its_vector_and_the_bill_is_the_servers() {
    let setup = setup(Wire::Openai, []).await;
    let mut request = of(&["one", "two → three", "one"]);
    request.dimensions = Some(5);
    let made = embed(&setup, &request).await.unwrap();
    assert!(made.vectors.iter().all(|vector| vector.len() == 5));
    assert_eq!(made.vectors[0], made.vectors[2]);
    assert_ne!(made.vectors[0], made.vectors[1]);
    assert_eq!(made.usage.input_tokens, setup.sent().input_tokens);
    assert_eq!((made.usage.output_tokens, made.usage.estimated), (0, false));
    let sent = &setup.server.recorded()[0];
    assert_eq!(sent.authorization, Some(Wire::Openai.sent_key(KEY)));
}

#[tokio::test]
async fn a_cut_at_every_byte_is_a_failure_and_is_charged() {
    let setup = setup(Wire::Openai, []).await;
    let request = of(&["a text of some length", "another"]);
    let body = embed(&setup, &request).await.unwrap();
    for bytes in 0..400 {
        let cut = Reply::fault(Fault::CutAfterBytes(bytes));
        setup.server.set_script(Script::queue([cut]));
        match embed(&setup, &request).await {
            Ok(whole) => assert_eq!(whole.vectors, body.vectors),
            Err(error) => {
                let usage = error.partial.usage;
                assert!(usage.estimated && usage.input_tokens >= setup.sent().input_tokens);
            }
        }
    }
}

#[tokio::test]
async fn what_was_not_said_is_bounded_and_what_was_refused_is_free() {
    let silent = Reply {
        usage: UsageReport::Missing,
        ..Reply::default()
    };
    let full = Reply::fault(Fault::Status {
        status: 429,
        retry_after_s: Some(3),
        code: None,
        message: None,
    });
    let setup = setup(Wire::Openai, [silent, full]).await;
    let usage = embed(&setup, &of(&["one two"])).await.unwrap().usage;
    assert!(usage.estimated && usage.input_tokens >= setup.sent().input_tokens);
    let error = embed(&setup, &of(&["one"])).await.unwrap_err();
    assert_eq!(error.partial.usage, Usage::default());
    let wait = Some(Duration::from_secs(3));
    assert!(matches!(error.failure, Failure::Transient { retry_after, .. } if retry_after == wait));
}

#[tokio::test]
async fn who_makes_none_says_so_and_is_not_asked() {
    let setup = setup(Wire::Anthropic, []).await;
    let error = embed(&setup, &of(&["one"])).await.unwrap_err();
    assert_eq!(error.failure.code(), "embeddings_unsupported");
    assert_eq!(setup.server.counters().calls, 0);
    let endpoint: EndpointResolver = Arc::new(|| Box::pin(async { Err("not started".into()) }));
    let local = LocalProvider::new(&ProviderConfig::new("local", ProviderKind::Local), endpoint);
    let (local, limits) = (local.unwrap(), CallLimits::default());
    let error = local.embed(&of(&["one"]), &limits).await.unwrap_err();
    assert_eq!(error.failure.code(), "embeddings_unsupported");
}

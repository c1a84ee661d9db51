//! From configuration to a choice.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::time::Duration;

use super::*;
use crate::provider::{Models, ProviderConfig, Settings};

const THREE: &str = r#"
    [[providers]]
    name = "a"
    kind = "openai"
    base_url = "http://127.0.0.1:9/v1"
    models = [{ name = "m", context_tokens = 9000, max_output_tokens = 500, tokenizer = "o200k_base",
        price = { input = 10, cached_input = 9, output = 20 } }]
    [[providers]]
    name = "b"
    kind = "openai"
    base_url = "http://127.0.0.1:9/v1"
    models = [{ name = "m", context_tokens = 8000, max_output_tokens = 900, tokenizer = "o200k_base",
        price = { input = 5, cached_input = 5, output = 30 } }]
    [[providers]]
    name = "c"
    kind = "openai"
    base_url = "http://127.0.0.1:9/v1"
    models = [{ name = "m", price = { input = 1, cached_input = 1, output = 1 } }, { name = "n" }]
"#;

fn models() -> Models {
    let _ = rustls::crypto::ring::default_provider().install_default();
    #[derive(serde::Deserialize)]
    struct File {
        providers: Vec<ProviderConfig>,
    }
    let file: File = toml::from_str(THREE).unwrap();
    let settings = Settings {
        providers: file.providers,
        ..Settings::default()
    };
    Models::build(settings, &|_| None).unwrap()
}

fn router(toml: &str) -> Arc<Router> {
    let config: RoutingConfig = toml::from_str(toml).unwrap();
    config.check(&models()).unwrap();
    Router::new(config)
}

fn wish<'a>(models: &'a Models, name: &'a str) -> Wish<'a> {
    Wish {
        model: name,
        endpoints: models.endpoints(name).unwrap(),
        number: 1,
        last: &[],
        never: &[],
        tokens: 10,
    }
}

/// Who is taken, and what is said of those that are not.
fn taken(router: &Arc<Router>, wish: &Wish<'_>, now: Instant) -> (Option<String>, Vec<String>) {
    let choice = router.choose(wish, now);
    let closed = skipped(wish.endpoints, &choice.closed);
    let name = |(at, lease): (usize, Lease)| {
        lease.end(&Verdict::Alive { first_token: None }, None);
        wish.endpoints[at].model.provider.clone()
    };
    let closed = closed.into_iter().map(|one| one.endpoint).collect();
    (choice.taken.map(name), closed)
}

#[test]
fn a_name_that_several_serve_is_bounded_by_all_of_them() {
    let models = models();
    let catalog = models.catalog();
    let all = catalog.get("m").unwrap();
    assert_eq!(
        (all.provider.as_str(), &all.others),
        ("a", &vec!["b".to_owned(), "c".to_owned()])
    );
    assert_eq!(
        (all.price.input, all.price.cached_input, all.price.output),
        (10, 9, 30)
    );
    assert_eq!((all.context_tokens, all.max_output_tokens), (8_000, 500));
    assert_eq!(all.tokenizer, None, "one of them counts otherwise");
    let one = catalog.get("b/m").unwrap();
    assert_eq!((one.price.output, one.others.len()), (30, 0));
    assert!(one.tokenizer.is_some());
    assert_eq!(models.endpoints("b/m").unwrap().len(), 1);
    assert_eq!(models.resolve("m").unwrap().model.provider, "a");
}

#[test]
fn names_of_routes_are_checked() {
    let check = |toml: &str| {
        let config: RoutingConfig = toml::from_str(toml).unwrap();
        config.check(&models()).unwrap_err().to_string()
    };
    assert!(check("[routes.x]").contains("no provider serves"));
    let error = check("[routes.n.endpoints.a]\nweight = 2");
    assert!(error.ends_with("it is served by: c"), "{error}");
}

#[test]
fn the_next_one_is_taken_where_the_first_is_closed_and_those_that_failed_come_last() {
    let (models, now) = (models(), Instant::now());
    let router = router("[breaker]\nfailures = 1\npause_ms = 1000");
    assert_eq!(taken(&router, &wish(&models, "m"), now).0.unwrap(), "a");
    let failed = ["a".to_owned(), "b".to_owned()];
    let last = Wish {
        last: &failed,
        ..wish(&models, "m")
    };
    assert_eq!(taken(&router, &last, now).0.unwrap(), "c");
    let never = Wish {
        never: &failed[..1],
        ..wish(&models, "m")
    };
    assert_eq!(taken(&router, &never, now).0.unwrap(), "b");

    let (_, lease) = router.choose(&wish(&models, "m"), now).taken.unwrap();
    let code = "provider_transient".to_owned();
    lease.end(
        &Verdict::Failed {
            code,
            passing: true,
        },
        None,
    );
    let (who, closed) = taken(&router, &wish(&models, "m"), Instant::now());
    assert_eq!((who.as_deref(), closed), (Some("b"), vec!["a".to_owned()]));
    // By its full name it is the same endpoint.
    let (who, closed) = taken(&router, &wish(&models, "a/m"), Instant::now());
    assert_eq!((who, closed.len()), (None, 1));
    let later = Instant::now() + Duration::from_secs(1);
    assert_eq!(taken(&router, &wish(&models, "m"), later).0.unwrap(), "a");
}

#[test]
fn what_a_provider_says_of_its_limits_closes_it() {
    let (models, now) = (models(), Instant::now());
    let router = router("");
    let (_, lease) = router.choose(&wish(&models, "n"), now).taken.unwrap();
    let quota = Quota {
        closed: Duration::from_secs(9),
        of: "requests",
    };
    lease.end(&Verdict::Alive { first_token: None }, Some(quota));
    let choice = router.choose(&wish(&models, "n"), Instant::now());
    assert!(choice.taken.is_none());
    let why = &choice.closed[0].1;
    assert!(why.reason.contains("no more requests"), "{why:?}");
    assert!(why.passing && why.until.is_some());
}

#[test]
fn a_call_that_is_dropped_gives_its_place_back() {
    let (models, now) = (models(), Instant::now());
    let router = router("[routes.n.endpoints.c]\nconcurrency = 1");
    let held = router.choose(&wish(&models, "n"), now).taken;
    assert!(router.choose(&wish(&models, "n"), now).taken.is_none());
    drop(held);
    assert!(router.choose(&wish(&models, "n"), now).taken.is_some());
}

#[test]
fn a_strategy_decides_who_is_first() {
    let (models, now) = (models(), Instant::now());
    let first = |toml: &str| {
        let router = router(toml);
        taken(&router, &wish(&models, "m"), now).0.unwrap()
    };
    assert_eq!(first("[routes.m]\nstrategy = \"least_cost\""), "c");
    let weights = "[routes.m]\nstrategy = \"weighted\"\n\
        endpoints = { a = { weight = 0 }, b = { weight = 5 }, c = { weight = 0 } }";
    assert_eq!(first(weights), "b");
    let router = router("[routes.m]\nstrategy = \"least_busy\"");
    let busy: Vec<_> = (0..3)
        .map(|_| router.choose(&wish(&models, "m"), now).taken.unwrap())
        .collect();
    let mut places: Vec<_> = busy.iter().map(|(at, _)| *at).collect();
    places.sort_unstable();
    assert_eq!(places, [0, 1, 2], "each gets one");
}

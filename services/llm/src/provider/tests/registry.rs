//! Configuration and environment to models, providers and prices.

use std::sync::Arc;

use nexus_events::catalog::Tokenizer;

use super::*;
use crate::provider::models::ConfigError;
use crate::provider::price::{CEILING, FREE, table_as_of};

pub(super) fn build(toml: &str, env: &[(&str, &str)], local: bool) -> Result<Models, ConfigError> {
    install_tls();
    #[derive(serde::Deserialize)]
    struct File {
        #[serde(default)]
        providers: Vec<ProviderConfig>,
    }
    let file: File = toml::from_str(toml).unwrap();
    let endpoint: EndpointResolver = Arc::new(|| Box::pin(async { Err("not started".into()) }));
    let settings = Settings {
        providers: file.providers,
        local_endpoint: local.then_some(endpoint),
        ..Settings::default()
    };
    let env = |name: &str| {
        env.iter()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| (*v).to_owned())
    };
    Models::build(settings, &env)
}

const TWO: &str = r#"
    [[providers]]
    name = "corp"
    kind = "openai"
    base_url = "https://models.example.test/v1/"
    api_key_env = "CORP_KEY"
    [[providers.models]]
    name = "big"
    wire_name = "vendor/big-2"
    context_tokens = 200000
    max_output_tokens = 8000
    price = { input = 1000000, cached_input = 100000, output = 4000000 }
    [[providers.models]]
    name = "mystery"
    [[providers.models]]
    name = "gpt-4o-mini"

    [[providers]]
    name = "other"
    kind = "openai"
    base_url = "http://127.0.0.1:9/v1"
    [[providers.models]]
    name = "big"
"#;

#[test]
fn names_lead_to_providers_limits_and_prices() {
    let models = build(TWO, &[("CORP_KEY", "k")], false).unwrap();
    let big = models.resolve("big").unwrap();
    assert_eq!(
        (big.provider.name(), big.model.wire_name.as_str()),
        ("corp", "vendor/big-2")
    );
    assert_eq!(big.model.max_output_tokens, 8_000);
    assert_eq!(big.model.price_source, PriceSource::Configured);
    assert_eq!(
        models.resolve("other/big").unwrap().provider.name(),
        "other"
    );
    let known = models.resolve("gpt-4o-mini").unwrap().model;
    assert_eq!(
        (known.price.input, known.price_source),
        (150_000, PriceSource::BuiltIn)
    );
    assert_eq!(models.default_model().unwrap().model.name, "big");
    assert_eq!(models.list().count(), 3);
    assert!(models.catalog().get("corp/mystery").is_some());
}

#[test]
fn a_model_without_a_price_has_the_ceiling_and_the_local_one_is_free() {
    let models = build(TWO, &[("CORP_KEY", "k")], true).unwrap();
    let mystery = models.resolve("mystery").unwrap().model;
    assert_eq!(
        (mystery.price, mystery.price_source),
        (CEILING, PriceSource::Ceiling)
    );
    let local = models.resolve("local/qwen2.5-coder-0.5b-instruct").unwrap();
    assert_eq!((local.model.price, local.provider.name()), (FREE, "local"));
}

#[test]
fn an_unknown_model_is_an_error_that_names_the_known() {
    let error = build(TWO, &[("CORP_KEY", "k")], false)
        .unwrap()
        .resolve("bog")
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        r#"no provider serves the model "bog"; known are: big, mystery, gpt-4o-mini"#
    );
}

#[test]
fn the_usual_environment_adds_openai() {
    let at_openai = build("", &[("OPENAI_API_KEY", "sk-x\n")], true).unwrap();
    assert_eq!(
        at_openai.default_model().unwrap().model.name,
        "gpt-5.4-mini"
    );
    assert!(at_openai.resolve("openai/gpt-4.1").is_ok());
    assert!(at_openai.resolve("qwen2.5-coder-0.5b-instruct").is_ok());

    let env = [
        ("OPENAI_BASE_URL", "http://127.0.0.1:8/v1"),
        ("OPENAI_MODEL", "llama3"),
    ];
    let elsewhere = build("", &env, true).unwrap();
    let default = elsewhere.default_model().unwrap().model;
    assert_eq!(
        (default.name.as_str(), default.price_source),
        ("llama3", PriceSource::Ceiling)
    );

    let nothing = build("", &[("OPENAI_API_KEY", " ")], true).unwrap();
    assert_eq!(nothing.default_model().unwrap().provider.name(), "local");
    let none = build("", &[], false).unwrap();
    assert!(none.default_model().is_err());
}

#[test]
fn the_usual_environment_adds_anthropic_beside_openai() {
    let alone = build("", &[("ANTHROPIC_API_KEY", "sk-ant-x")], true).unwrap();
    let default = alone.default_model().unwrap();
    assert_eq!(default.model.name, "claude-sonnet-5-5");
    assert_eq!(default.provider.name(), "anthropic");
    let price = default.model.price;
    assert_eq!(price.cache_write, Some(price.input * 5 / 4));
    assert!(alone.resolve("openai/gpt-4.1").is_err());
    assert_eq!(default.model.tokenizer, None);

    let keys = [("ANTHROPIC_API_KEY", "a"), ("OPENAI_API_KEY", "o")];
    let both = build("", &keys, true).unwrap();
    assert_eq!(both.default_model().unwrap().model.provider, "openai");
    assert!(both.resolve("anthropic/claude-haiku-4-5").is_ok());

    let env = [
        ("ANTHROPIC_BASE_URL", "http://127.0.0.1:8"),
        ("ANTHROPIC_MODEL", "own"),
    ];
    let elsewhere = build("", &env, true).unwrap();
    assert_eq!(elsewhere.default_model().unwrap().model.name, "own");
}

#[test]
fn a_configuration_that_cannot_work_is_refused_with_its_reason() {
    let refused = |toml: &str| build(toml, &[("BAD", "a\u{1}b")], false).err().unwrap();
    assert!(
        matches!(refused(TWO), ConfigError::MissingKey { variable, .. } if variable == "CORP_KEY")
    );
    let one = |line: &str| format!("[[providers]]\nname = \"p\"\nkind = \"openai\"\n{line}");
    for url in ["ftp://x", "not a url", "http://user:pass@host/v1"] {
        let error = refused(&one(&format!("base_url = {url:?}")));
        assert!(matches!(error, ConfigError::BaseUrl { .. }), "{error:?}");
        assert!(!error.to_string().contains("pass@"));
    }
    assert!(matches!(
        refused(&one("api_key_env = \"BAD\"")),
        ConfigError::UnusableKey(_)
    ));
    let twice = one("") + &one("");
    assert!(matches!(refused(&twice), ConfigError::DuplicateProvider(_)));
    let local = "[[providers]]\nname = \"l\"\nkind = \"local\"\n";
    assert!(matches!(refused(local), ConfigError::NoLocalModel(_)));
}

#[test]
fn prompts_are_counted_as_configured_or_as_the_table_knows() {
    let two = TWO.replace(
        "name = \"mystery\"",
        "name = \"mystery\"\ntokenizer = \"cl100k_base\"",
    );
    let catalog = build(&two, &[("CORP_KEY", "k")], true).unwrap().catalog();
    let tokenizer = |name: &str| catalog.get(name).unwrap().tokenizer;
    assert_eq!(tokenizer("mystery"), Some(Tokenizer::Cl100kBase));
    assert_eq!(tokenizer("corp/gpt-4o-mini"), Some(Tokenizer::O200kBase));
    assert_eq!(tokenizer("big"), None);
    assert_eq!(tokenizer("qwen2.5-coder-0.5b-instruct"), None);
}

#[test]
fn another_configured_price_is_another_version_of_prices() {
    let version = |toml: &str| {
        let models = build(toml, &[("CORP_KEY", "k"), ("OPENAI_API_KEY", "k")], true);
        models.unwrap().catalog().price_version
    };
    assert_eq!(version(""), table_as_of(), "the built-in ones alone");
    let two = version(TWO);
    assert_eq!(two, version(TWO));
    let (date, digest) = two.split_once('+').unwrap();
    assert_eq!((date, digest.len()), (table_as_of(), 8));
    for (from, to) in [
        ("input = 1000000", "input = 1000001"),
        ("cached_input = 100000", "cached_input = 100001"),
        ("output = 4000000", "output = 4000001"),
    ] {
        assert_ne!(version(&TWO.replace(from, to)), two, "{to}");
    }
}

//! The environment variables that people have set for the vendors' own clients already.

use super::config::{ModelConfig, ProviderConfig, ProviderKind, Secret};
use super::{http, price};

pub(super) const OPENAI_BASE: &str = "https://api.openai.com/v1";
pub(super) const ANTHROPIC_BASE: &str = "https://api.anthropic.com";

/// What a vendor's variables begin with, and the provider that they add.
struct Usual {
    prefix: &'static str,
    name: &'static str,
    kind: ProviderKind,
    base: &'static str,
}

const USUAL: [Usual; 2] = [
    Usual {
        prefix: "OPENAI",
        name: "openai",
        kind: ProviderKind::Openai,
        base: OPENAI_BASE,
    },
    Usual {
        prefix: "ANTHROPIC",
        name: "anthropic",
        kind: ProviderKind::Anthropic,
        base: ANTHROPIC_BASE,
    },
];

/// Providers, each with a default model, as `…_BASE_URL`, `…_API_KEY` and `…_MODEL` say. The models
/// of the vendor's price table are offered under their names, the one in `…_MODEL` as well.
pub(super) fn providers(
    env: &dyn Fn(&str) -> Option<String>,
) -> Vec<(ProviderConfig, Option<String>)> {
    USUAL
        .iter()
        .filter_map(|usual| usual.provider(env))
        .collect()
}

impl Usual {
    fn provider(
        &self,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Option<(ProviderConfig, Option<String>)> {
        let set = |name: &str| {
            env(&format!("{}_{name}", self.prefix)).filter(|value| !value.trim().is_empty())
        };
        let (base, key) = (set("BASE_URL"), set("API_KEY"));
        if base.is_none() && key.is_none() {
            return None;
        }
        let named = set("MODEL");
        let table = price::of(self.kind)?;
        let mut config = ProviderConfig::new(self.name, self.kind);
        let at_vendor = base.as_deref().is_none_or(|base| self.is_vendor(base));
        config.base_url = base;
        config.api_key = key.map(Secret::from);
        let known = table.names().filter(|name| Some(*name) != named.as_ref());
        config.models = named.iter().chain(known).map(ModelConfig::named).collect();
        let default = named.or_else(|| at_vendor.then(|| table.default_model().to_owned()));
        Some((config, default))
    }

    fn is_vendor(&self, base: &str) -> bool {
        let host = |base: &str| http::parse(base).ok()?.host_str().map(str::to_owned);
        host(base) == host(self.base)
    }
}

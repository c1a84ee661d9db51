//! The environment variables that people have set for other OpenAI clients already.

use super::config::{ModelConfig, ProviderConfig, ProviderKind, Secret};
use super::price;

pub(super) const OPENAI_BASE: &str = "https://api.openai.com/v1";
const PROVIDER: &str = "openai";

/// A provider and a default model, as `OPENAI_BASE_URL`, `OPENAI_API_KEY` and `OPENAI_MODEL` say.
/// The models of the price table are offered under their names, the one in `OPENAI_MODEL` as well.
pub(super) fn provider(
    env: &dyn Fn(&str) -> Option<String>,
) -> Option<(ProviderConfig, Option<String>)> {
    let set = |name| env(name).filter(|value| !value.trim().is_empty());
    let (base, key) = (set("OPENAI_BASE_URL"), set("OPENAI_API_KEY"));
    if base.is_none() && key.is_none() {
        return None;
    }
    let named = set("OPENAI_MODEL");
    let mut config = ProviderConfig::new(PROVIDER, ProviderKind::Openai);
    let at_openai = base
        .as_deref()
        .is_none_or(|b| b.trim_end_matches('/') == OPENAI_BASE);
    config.base_url = base;
    config.api_key = key.map(Secret::from);
    let known = price::known()
        .keys()
        .filter(|name| Some(*name) != named.as_ref());
    config.models = named.iter().chain(known).map(ModelConfig::named).collect();
    let default = named.or_else(|| at_openai.then(|| price::default_model().to_owned()));
    Some((config, default))
}

//! What tokens cost, and the list prices of well-known models.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use nexus_events::model::Usage;
use serde::{Deserialize, Serialize};

const TOKENS_A_PRICE: u128 = 1_000_000;

/// Prices in micro-dollars per million tokens: 2,500,000 is $2.50 a million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Prompt tokens that were not cached.
    pub input_micros: u64,
    /// Prompt tokens that came from the provider's cache; `input_micros` without it.
    #[serde(default)]
    pub cached_input_micros: Option<u64>,
    /// Tokens of the answer.
    pub output_micros: u64,
}

impl Price {
    /// For what costs nothing, said explicitly.
    pub const FREE: Self =
        Self { input_micros: 0, cached_input_micros: Some(0), output_micros: 0 };

    /// For a model whose price nobody gave: as dear as the dearest that is listed.
    pub const CEILING: Self = Self {
        input_micros: 30_000_000,
        cached_input_micros: None,
        output_micros: 180_000_000,
    };

    /// Micro-dollars for these tokens, rounded up.
    pub fn cost_usd_micros(&self, usage: &Usage) -> u64 {
        let cached = usage.cached_input_tokens.min(usage.input_tokens);
        let fresh = usage.input_tokens - cached;
        let part = |tokens: u64, price: u64| u128::from(tokens) * u128::from(price);
        let total = part(fresh, self.input_micros)
            .saturating_add(part(cached, self.cached_input_micros.unwrap_or(self.input_micros)))
            .saturating_add(part(usage.output_tokens, self.output_micros));
        u64::try_from(total.div_ceil(TOKENS_A_PRICE)).unwrap_or(u64::MAX)
    }
}

/// Where a price comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PriceSource {
    /// The configuration.
    Configured,
    /// The table that comes with the program; see [`table_as_of`].
    BuiltIn,
    /// Nobody gave one: the configured ceiling.
    Ceiling,
}

/// A well-known model.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    pub(super) context_tokens: u32,
    pub(super) max_output_tokens: u32,
    #[serde(default)]
    pub(super) reasoning: bool,
    pub(super) price: Price,
}

#[derive(Debug, Deserialize)]
struct Table {
    as_of: String,
    default_model: String,
    models: BTreeMap<String, Known>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    // The file is part of the program and a test reads it; without it every model has the ceiling.
    toml::from_str(include_str!("prices.toml")).unwrap_or_else(|error| {
        tracing::error!(%error, "the built-in price table cannot be read");
        Table { as_of: String::new(), default_model: String::new(), models: BTreeMap::new() }
    })
});

/// The day of the built-in list prices, `YYYY-MM-DD`.
pub fn table_as_of() -> &'static str {
    &TABLE.as_of
}

pub(super) fn default_model() -> &'static str {
    &TABLE.default_model
}

pub(super) fn known() -> &'static BTreeMap<String, Known> {
    &TABLE.models
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_is_rounded_up_and_cached_tokens_have_their_own_price() {
        let price =
            Price { input_micros: 2_000_000, cached_input_micros: Some(500_000), output_micros: 8_000_000 };
        let usage = |input, cached, output| Usage {
            input_tokens: input,
            output_tokens: output,
            cached_input_tokens: cached,
            estimated: false,
        };
        assert_eq!(price.cost_usd_micros(&usage(10, 0, 5)), 60);
        assert_eq!(price.cost_usd_micros(&usage(10, 4, 5)), 54);
        assert_eq!(price.cost_usd_micros(&usage(1, 1, 0)), 1);
        assert_eq!(price.cost_usd_micros(&usage(2, 900, 0)), 1);
        assert_eq!(Price::FREE.cost_usd_micros(&usage(u64::MAX, 0, u64::MAX)), 0);
        assert_eq!(Price::CEILING.cost_usd_micros(&usage(u64::MAX, 0, u64::MAX)), u64::MAX);
    }

    #[test]
    fn the_table_is_whole_and_nothing_in_it_is_free_or_above_the_ceiling() {
        assert!(known().contains_key(default_model()));
        for (name, model) in known() {
            let Price { input_micros, cached_input_micros, output_micros } = model.price;
            assert!(input_micros > 0 && output_micros >= input_micros, "{name}");
            assert!(cached_input_micros.is_none_or(|c| c > 0 && c <= input_micros), "{name}");
            assert!(input_micros <= Price::CEILING.input_micros, "{name}");
            assert!(output_micros <= Price::CEILING.output_micros, "{name}");
            assert!(model.max_output_tokens < model.context_tokens, "{name}");
        }
    }
}

//! The list prices of well-known models, and the price of those that nobody knows.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use nexus_events::catalog::{Price, Tokenizer};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// For a model whose price nobody gave: that of the dearest chat model on OpenAI's list.
pub const CEILING: Price = Price {
    input: 30_000_000,
    cached_input: 30_000_000,
    output: 180_000_000,
};

/// For what costs nothing, said explicitly.
pub const FREE: Price = Price {
    input: 0,
    cached_input: 0,
    output: 0,
};

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
    pub(super) context_tokens: u64,
    pub(super) max_output_tokens: u64,
    #[serde(default)]
    pub(super) reasoning: bool,
    pub(super) tokenizer: Tokenizer,
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
        Table {
            as_of: String::new(),
            default_model: String::new(),
            models: BTreeMap::new(),
        }
    })
});

/// The day of the built-in list prices, `YYYY-MM-DD`.
pub fn table_as_of() -> &'static str {
    &TABLE.as_of
}

/// Which prices these are: [`table_as_of`], and where others are configured `+` and eight digits of
/// their digest, so that it is another when one of them is.
pub(super) fn version<'a>(configured: impl Iterator<Item = (&'a str, Price)>) -> String {
    let mut digest = Sha256::new();
    let mut any = false;
    for (name, price) in configured {
        let Price {
            input,
            cached_input,
            output,
        } = price;
        digest.update(format!("{name:?} {input} {cached_input} {output}\n"));
        any = true;
    }
    if !any {
        return table_as_of().to_owned();
    }
    let digest = hex::encode(digest.finalize());
    format!("{}+{}", table_as_of(), &digest[..8])
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
    fn the_table_is_whole_and_nothing_in_it_is_free_or_above_the_ceiling() {
        assert!(known().contains_key(default_model()));
        for (name, model) in known() {
            let Price {
                input,
                cached_input,
                output,
            } = model.price;
            assert!(
                0 < cached_input && cached_input <= input && input <= output,
                "{name}"
            );
            assert!(input <= CEILING.input && output <= CEILING.output, "{name}");
            assert!(model.max_output_tokens < model.context_tokens, "{name}");
        }
    }
}

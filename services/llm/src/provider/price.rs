//! The list prices of well-known models, and the price of those that nobody knows.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use nexus_events::catalog::{Price, Tokenizer};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::capability::{self, Capabilities, Capability};
use super::config::ProviderKind;

/// For a model whose price nobody gave: that of the dearest chat model on OpenAI's list.
pub const CEILING: Price = Price {
    input: 30_000_000,
    cached_input: 30_000_000,
    cache_write: None,
    output: 180_000_000,
};

/// For what costs nothing, said explicitly.
pub const FREE: Price = Price {
    input: 0,
    cached_input: 0,
    cache_write: None,
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
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    pub(super) context_tokens: u64,
    pub(super) max_output_tokens: u64,
    #[serde(default)]
    pub(super) reasoning: bool,
    #[serde(default)]
    pub(super) tokenizer: Option<Tokenizer>,
    /// What it cannot do of what most can.
    #[serde(default)]
    lacks: Capabilities,
    /// It makes vectors, and nothing else.
    #[serde(default)]
    embeds: bool,
    pub(super) price: Price,
}

impl Known {
    pub(super) fn capabilities(&self) -> Capabilities {
        match self.embeds {
            true => [Capability::Embeddings].into(),
            false => &capability::usual() - &self.lacks,
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Table {
    as_of: String,
    default_model: String,
    models: BTreeMap<String, Known>,
}

/// The tables, one a vendor.
static OPENAI: LazyLock<Table> = LazyLock::new(|| table(include_str!("prices.toml")));
static ANTHROPIC: LazyLock<Table> = LazyLock::new(|| table(include_str!("prices_anthropic.toml")));

fn table(text: &str) -> Table {
    // The files are part of the program and a test reads them; without one its models have the ceiling.
    toml::from_str(text).unwrap_or_else(|error| {
        tracing::error!(%error, "a built-in price table cannot be read");
        Table {
            as_of: String::new(),
            default_model: String::new(),
            models: BTreeMap::new(),
        }
    })
}

/// What a vendor offers.
pub(super) fn of(kind: ProviderKind) -> Option<&'static Table> {
    match kind {
        ProviderKind::Openai => Some(&OPENAI),
        ProviderKind::Anthropic => Some(&ANTHROPIC),
        ProviderKind::Local => None,
    }
}

/// A model of any vendor: some servers offer others' models under their own names.
pub(super) fn find(name: &str) -> Option<&'static Known> {
    OPENAI
        .models
        .get(name)
        .or_else(|| ANTHROPIC.models.get(name))
}

impl Table {
    pub(super) fn default_model(&self) -> &str {
        &self.default_model
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.models.keys()
    }
}

/// The day of the newest built-in list prices, `YYYY-MM-DD`.
pub fn table_as_of() -> &'static str {
    OPENAI.as_of.as_str().max(&ANTHROPIC.as_of)
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
            cache_write,
            output,
        } = price;
        digest.update(format!("{name:?} {input} {cached_input} {output}\n"));
        if let Some(cache_write) = cache_write {
            digest.update(format!("{cache_write}\n"));
        }
        any = true;
    }
    if !any {
        return table_as_of().to_owned();
    }
    let digest = hex::encode(digest.finalize());
    format!("{}+{}", table_as_of(), &digest[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_whole_and_nothing_in_them_is_free_or_above_the_ceiling() {
        for table in [&OPENAI, &ANTHROPIC] {
            assert!(table.models.contains_key(&table.default_model));
            assert_eq!(table.as_of.len(), "2026-01-01".len());
            for (name, model) in &table.models {
                sound(name, model);
            }
        }
    }

    fn sound(name: &str, model: &Known) {
        let Price {
            input,
            cached_input,
            cache_write,
            output,
        } = model.price;
        assert!(0 < cached_input && cached_input <= input, "{name}");
        assert!(cache_write.is_none_or(|write| write >= input), "{name}");
        assert!(input <= CEILING.input && output <= CEILING.output, "{name}");
        if model.embeds {
            assert_eq!((output, model.max_output_tokens), (0, 0), "{name}");
        } else {
            assert!(input <= output, "{name}");
            assert!(model.max_output_tokens < model.context_tokens, "{name}");
        }
    }
}

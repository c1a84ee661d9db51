//! The models that this installation offers, with what they cost: configuration, shared by every
//! role that decides about a call (start, reserve, call).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Usage;

/// Prices in micro-dollars per million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Input tokens that were not cached.
    pub input: u64,
    /// Input tokens that the provider served from its cache.
    pub cached_input: u64,
    /// Output tokens.
    pub output: u64,
}

impl Price {
    /// What this usage costs, in micro-dollars, rounded up.
    pub fn cost_usd_micros(&self, usage: &Usage) -> u64 {
        let cached = usage.cached_input_tokens.min(usage.input_tokens);
        let fresh = usage.input_tokens - cached;
        // A product of two u64 fits; the sum of three need not.
        let millionths = (u128::from(fresh) * u128::from(self.input))
            .saturating_add(u128::from(cached) * u128::from(self.cached_input))
            .saturating_add(u128::from(usage.output_tokens) * u128::from(self.output));
        u64::try_from(millionths.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
}

impl Price {
    /// How many tokens of answer this much money buys after the prompt is paid; without end where
    /// they are free.
    pub fn affordable_output(&self, input_tokens: u64, cost_usd_micros: u64) -> u64 {
        if self.output == 0 {
            return u64::MAX;
        }
        let prompt = u128::from(input_tokens) * u128::from(self.input);
        let money = (u128::from(cost_usd_micros) * 1_000_000).saturating_sub(prompt);
        u64::try_from(money / u128::from(self.output)).unwrap_or(u64::MAX)
    }
}

/// One model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Which provider of the configuration serves it.
    pub provider: String,
    /// Tokens that prompt and answer may have together.
    pub context_tokens: u64,
    /// Tokens that an answer may have.
    pub max_output_tokens: u64,
    /// What it costs.
    pub price: Price,
}

impl ModelInfo {
    /// Tokens that a prompt may have, so that a whole answer still fits beside it.
    pub fn prompt_tokens(&self) -> u64 {
        let answer = self.max_output_tokens.min(self.context_tokens / 2);
        self.context_tokens - answer
    }
}

/// All models, by the name that callers use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    /// The model of a run that names none.
    pub default_model: String,
    /// The models.
    pub models: BTreeMap<String, ModelInfo>,
    /// The models of an agent, preferred first.
    #[serde(default)]
    pub agents: BTreeMap<String, Vec<String>>,
}

impl Catalog {
    /// A model by name.
    pub fn get(&self, name: &str) -> Option<&ModelInfo> {
        self.models.get(name)
    }

    /// The agent's other models that cost less than this one, dearest first.
    pub fn cheaper_than(&self, agent: &str, model: &str) -> Vec<String> {
        let dearness = |name: &str| {
            let price = self.get(name)?.price;
            Some(price.input.saturating_add(price.output))
        };
        let Some(dear) = dearness(model) else {
            return vec![];
        };
        let others = self.agents.get(agent).into_iter().flatten();
        let mut cheaper: Vec<(u64, &String)> = others
            .filter_map(|name| Some((dearness(name).filter(|cost| *cost < dear)?, name)))
            .collect();
        cheaper.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        cheaper.into_iter().map(|(_, name)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_is_rounded_up_and_cached_input_is_cheaper() {
        let price = Price {
            input: 150_000,
            cached_input: 75_000,
            output: 600_000,
        };
        let usage = Usage {
            input_tokens: 1_000,
            output_tokens: 10,
            ..Usage::default()
        };
        assert_eq!(price.cost_usd_micros(&usage), 156);
        let cached = Usage {
            cached_input_tokens: 1_000,
            ..usage
        };
        assert_eq!(price.cost_usd_micros(&cached), 81);
        let lied = Usage {
            cached_input_tokens: 5_000,
            ..usage
        };
        assert_eq!(price.cost_usd_micros(&lied), 81);
    }
}

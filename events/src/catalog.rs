//! The models that this installation offers, with what they cost and which agent prefers which:
//! configuration, shared by every role that decides about a call (start, reserve, call).

use std::collections::{BTreeMap, BTreeSet};

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
    /// Input tokens that the provider wrote into its cache; as `input` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<u64>,
    /// Output tokens.
    pub output: u64,
}

impl Price {
    /// What this usage costs, in micro-dollars, rounded up.
    pub fn cost_usd_micros(&self, usage: &Usage) -> u64 {
        let cached = usage.cached_input_tokens.min(usage.input_tokens);
        let fresh = usage.input_tokens - cached;
        let written = usage.cache_write_tokens.min(fresh);
        let fresh = fresh - written;
        let cache_write = self.cache_write.unwrap_or(self.input);
        // A product of two u64 fits; a sum of them need not.
        let millionths = (u128::from(fresh) * u128::from(self.input))
            .saturating_add(u128::from(cached) * u128::from(self.cached_input))
            .saturating_add(u128::from(written) * u128::from(cache_write))
            .saturating_add(u128::from(usage.output_tokens) * u128::from(self.output));
        u64::try_from(millionths.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
}

impl Price {
    /// The dearer one of each.
    pub fn or_dearer(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            cached_input: self.cached_input.max(other.cached_input),
            output: self.output.max(other.output),
            cache_write: match (self.cache_write, other.cache_write) {
                (None, None) => None,
                (own, others) => {
                    let others = others.unwrap_or(other.input);
                    Some(own.unwrap_or(self.input).max(others))
                }
            },
        }
    }

    /// The most that a call with so many tokens can cost: whether a prompt is read from the provider's
    /// cache or written into it is known afterwards only.
    pub fn most_usd_micros(&self, input_tokens: u64, output_tokens: u64) -> u64 {
        let dearest = Self {
            input: self.dearest_input(),
            ..*self
        };
        dearest.cost_usd_micros(&Usage {
            input_tokens,
            output_tokens,
            ..Usage::default()
        })
    }

    fn dearest_input(&self) -> u64 {
        let written = self.cache_write.unwrap_or(self.input);
        self.input.max(self.cached_input).max(written)
    }

    /// How many tokens of answer this much money buys after the prompt is paid; without end where
    /// they are free.
    pub fn affordable_output(&self, input_tokens: u64, cost_usd_micros: u64) -> u64 {
        if self.output == 0 {
            return u64::MAX;
        }
        let prompt = u128::from(input_tokens) * u128::from(self.dearest_input());
        let money = (u128::from(cost_usd_micros) * 1_000_000).saturating_sub(prompt);
        u64::try_from(money / u128::from(self.output)).unwrap_or(u64::MAX)
    }
}

/// How a model's text becomes tokens, by the name that OpenAI gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Tokenizer {
    /// Of GPT-4o and all later models of OpenAI.
    #[serde(rename = "o200k_base")]
    O200kBase,
    /// Of GPT-4 and GPT-3.5.
    #[serde(rename = "cl100k_base")]
    Cl100kBase,
}

/// One model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Which provider of the configuration serves it; the first, where several do.
    pub provider: String,
    /// The others that serve it: a call may take any of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// Tokens that prompt and answer may have together.
    pub context_tokens: u64,
    /// Tokens that an answer may have.
    pub max_output_tokens: u64,
    /// What it costs.
    pub price: Price,
    /// How its prompts are counted; without one, each byte of them is taken for a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<Tokenizer>,
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
    /// The model of a run that names none and whose agent prefers none.
    pub default_model: String,
    /// The models.
    pub models: BTreeMap<String, ModelInfo>,
    /// Those that make vectors of texts, by the same names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub embedders: BTreeMap<String, ModelInfo>,
    /// Which prices these are; another when a price is another.
    #[serde(default)]
    pub price_version: String,
    /// The models of an agent, by its name, the preferred one first.
    #[serde(default)]
    pub agents: BTreeMap<String, Vec<String>>,
    /// With which of its models a run of an agent begins that names none; the preferred one where
    /// nothing is said.
    #[serde(default)]
    pub begins: BTreeMap<String, Begin>,
    /// Tokens of what a model's provider tells it of tools by itself, and bills, by the model's name;
    /// none where nothing is said.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tool_overhead_tokens: BTreeMap<String, u64>,
}

/// With which of its models an agent's run begins. What is quick or idle now is known only where
/// models are called, and another process may start the run: so there are no such ways here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Begin {
    /// The first.
    #[default]
    Priority,
    /// The one whose prompt and answer together cost least; of two the preferred one.
    LeastCost,
    /// By these weights, in the order of the models; a model without one has weight 1.
    Weighted(Vec<u32>),
}

impl Catalog {
    /// A model by name.
    pub fn get(&self, name: &str) -> Option<&ModelInfo> {
        self.models.get(name)
    }

    /// The model of an agent's run that names none; `number` is the run's, and the same one gives
    /// the same model.
    pub fn model_for(&self, agent: &str, number: u64) -> &str {
        let models = self.agents.get(agent).map_or(&[][..], Vec::as_slice);
        let begin = self.begins.get(agent).unwrap_or(&Begin::Priority);
        let chosen = match begin {
            Begin::Priority => models.first(),
            Begin::LeastCost => models.iter().min_by_key(|name| {
                let price = self.get(name).map(|model| model.price);
                price.map_or(u128::MAX, |price| {
                    u128::from(price.input) + u128::from(price.output)
                })
            }),
            Begin::Weighted(weights) => {
                let weight = |at: usize| weights.get(at).copied().unwrap_or(1);
                let all: Vec<u32> = (0..models.len()).map(weight).collect();
                by_weight(&all, number).and_then(|at| models.get(at))
            }
        };
        chosen.or(models.first()).unwrap_or(&self.default_model)
    }

    /// The agent's other models that cost less than this one, the dearest first: neither their input
    /// nor their output is dearer, for only then do they cost less whatever is said.
    pub fn cheaper_than(&self, agent: &str, model: &str) -> Vec<String> {
        let Some(price) = self.get(model).map(|model| model.price) else {
            return vec![];
        };
        let sum = |price: Price| u128::from(price.input) + u128::from(price.output);
        let is_cheaper = |other: Price| {
            other.input <= price.input && other.output <= price.output && sum(other) < sum(price)
        };
        let others = self.agents.get(agent).into_iter().flatten();
        let mut cheaper: Vec<(u128, &String)> = others
            .filter_map(|name| Some((name, self.get(name)?.price)))
            .filter(|(_, other)| is_cheaper(*other))
            .map(|(name, other)| (sum(other), name))
            .collect();
        // Stable: of two that cost the same the agent's preferred one stays first.
        cheaper.sort_by_key(|(sum, _)| std::cmp::Reverse(*sum));
        cheaper.into_iter().map(|(_, name)| name.clone()).collect()
    }

    /// The tokenizers of the model and of those that its run may be moved to, each once: the
    /// agent's, where it is one of them, else the cheaper ones of them. Empty where one has none:
    /// then only bytes bound what all of them would count.
    pub fn tokenizers(&self, agent: &str, model: &str) -> Vec<Tokenizer> {
        let all: Option<BTreeSet<Tokenizer>> = (self.reachable(agent, model).iter())
            .map(|name| self.get(name).and_then(|model| model.tokenizer))
            .collect();
        all.into_iter().flatten().collect()
    }

    /// Bound on the tokens that a run's provider tells its model of tools by itself, whichever of its
    /// models that is.
    pub fn tool_overhead_tokens(&self, agent: &str, model: &str) -> u64 {
        let all = self.reachable(agent, model);
        let overheads = all
            .iter()
            .filter_map(|name| self.tool_overhead_tokens.get(name));
        overheads.max().copied().unwrap_or(0)
    }

    /// The model and those that its run may be moved to.
    fn reachable(&self, agent: &str, model: &str) -> Vec<String> {
        let agents = self.agents.get(agent).map_or(&[][..], Vec::as_slice);
        let others: Vec<String> = match agents.iter().any(|name| name == model) {
            true => agents.to_vec(),
            false => self.cheaper_than(agent, model),
        };
        let served = others.into_iter().filter(|name| self.get(name).is_some());
        std::iter::once(model.to_owned()).chain(served).collect()
    }
}

/// The place that a number falls on among places of these weights; none where all are zero.
pub fn by_weight(weights: &[u32], number: u64) -> Option<usize> {
    let sum: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    let mut left = number.checked_rem(sum)?;
    weights.iter().position(|&weight| {
        let falls = left < u64::from(weight);
        left = left.saturating_sub(u64::from(weight));
        falls
    })
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
            ..Price::default()
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

    #[test]
    fn writing_into_the_cache_has_a_price_of_its_own_and_is_reserved_for() {
        let price = Price {
            input: 2_000_000,
            cached_input: 100_000,
            cache_write: Some(2_500_000),
            output: 10_000_000,
        };
        let usage = Usage {
            input_tokens: 1_000,
            output_tokens: 10,
            cached_input_tokens: 600,
            cache_write_tokens: 300,
            ..Usage::default()
        };
        // 100 fresh, 600 read, 300 written, 10 out.
        assert_eq!(price.cost_usd_micros(&usage), 200 + 60 + 750 + 100);
        assert_eq!(price.most_usd_micros(1_000, 10), 2_500 + 100);
        assert_eq!(price.affordable_output(1_000, 2_600), 10);
        let unpriced = Price {
            cache_write: None,
            ..price
        };
        assert_eq!(unpriced.cost_usd_micros(&usage), 200 + 60 + 600 + 100);
        let lied = Usage {
            cache_write_tokens: u64::MAX,
            ..usage
        };
        assert_eq!(price.cost_usd_micros(&lied), 60 + 1_000 + 100);
    }

    fn model(input: u64, output: u64, tokenizer: Option<Tokenizer>) -> ModelInfo {
        ModelInfo {
            provider: "test".to_owned(),
            others: vec![],
            context_tokens: 8_000,
            max_output_tokens: 1_000,
            price: Price {
                input,
                cached_input: input,
                output,
                ..Price::default()
            },
            tokenizer,
        }
    }

    fn catalog(agent: &[&str]) -> Catalog {
        let (o200k, cl100k) = (Some(Tokenizer::O200kBase), Some(Tokenizer::Cl100kBase));
        let models = [
            ("big", model(20, 80, o200k)),
            ("odd", model(1, 90, o200k)),
            ("middle", model(10, 40, o200k)),
            ("same", model(5, 45, o200k)),
            ("old", model(10, 30, cl100k)),
            ("small", model(1, 2, o200k)),
            ("own", model(0, 0, None)),
        ];
        let models = models.map(|(name, model)| (name.to_owned(), model));
        let agent = agent.iter().map(|&name| name.to_owned()).collect();
        Catalog {
            default_model: "small".to_owned(),
            models: models.into(),
            agents: [("default".to_owned(), agent)].into(),
            ..Catalog::default()
        }
    }

    #[test]
    fn an_agent_without_models_of_its_own_takes_the_default() {
        assert_eq!(catalog(&["big", "odd"]).model_for("default", 7), "big");
        assert_eq!(catalog(&["big"]).model_for("other", 7), "small");
        assert_eq!(catalog(&[]).model_for("default", 7), "small");
    }

    #[test]
    fn an_agent_begins_as_it_is_configured() {
        let begins = |begin: Begin, number| {
            let mut catalog = catalog(&["big", "small", "middle"]);
            catalog.begins.insert("default".to_owned(), begin);
            catalog.model_for("default", number).to_owned()
        };
        assert_eq!(begins(Begin::Priority, 9), "big");
        assert_eq!(begins(Begin::LeastCost, 9), "small");
        let mut count = BTreeMap::new();
        for number in 0..600 {
            let model = begins(Begin::Weighted(vec![1, 3]), number);
            *count.entry(model).or_insert(0) += 1;
        }
        let count: Vec<_> = count.into_iter().collect();
        let of = |name: &str, times| (name.to_owned(), times);
        assert_eq!(count, [of("big", 120), of("middle", 120), of("small", 360)]);
        assert_eq!(begins(Begin::Weighted(vec![0, 0, 0]), 5), "big");
    }

    #[test]
    fn cheaper_models_are_the_agents_own_and_cheaper_in_every_case() {
        let all = [
            "small", "big", "odd", "middle", "same", "old", "own", "gone",
        ];
        let catalog = catalog(&all);
        let cheaper = |model| catalog.cheaper_than("default", model);
        assert_eq!(cheaper("big"), ["middle", "same", "old", "small", "own"]);
        assert_eq!(cheaper("middle"), ["old", "small", "own"]);
        assert_eq!(
            cheaper("odd"),
            ["small", "own"],
            "dearer input may cost more"
        );
        assert_eq!(cheaper("own"), Vec::<String>::new());
        assert_eq!(cheaper("gone"), Vec::<String>::new());
        assert_eq!(catalog.cheaper_than("other", "big"), Vec::<String>::new());
    }

    #[test]
    fn all_models_of_a_run_are_counted_or_none() {
        use Tokenizer::{Cl100kBase, O200kBase};
        let tokenizers = |agent: &[&str], model| catalog(agent).tokenizers("default", model);
        assert_eq!(tokenizers(&[], "big"), [O200kBase]);
        assert_eq!(tokenizers(&["big", "small"], "big"), [O200kBase]);
        assert_eq!(tokenizers(&["big", "old"], "big"), [O200kBase, Cl100kBase]);
        assert_eq!(tokenizers(&["old", "big"], "old"), [O200kBase, Cl100kBase]);
        // Of a model that is not the agent's, the run can only be moved to a cheaper one.
        assert_eq!(
            tokenizers(&["big", "old"], "middle"),
            [O200kBase, Cl100kBase]
        );
        assert_eq!(tokenizers(&["big"], "small"), [O200kBase]);
        assert_eq!(tokenizers(&["big", "old", "own"], "big"), []);
        assert_eq!(tokenizers(&[], "own"), []);
        assert_eq!(tokenizers(&[], "gone"), []);
    }

    #[test]
    fn tokenizers_are_written_as_openai_names_them() {
        let written = serde_json::to_value([Tokenizer::O200kBase, Tokenizer::Cl100kBase]);
        let expected = serde_json::json!(["o200k_base", "cl100k_base"]);
        assert_eq!(written.ok(), Some(expected));
    }
}

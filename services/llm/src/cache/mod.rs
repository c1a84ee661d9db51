//! Answers that are given again. A call that asks the same of the same model at temperature 0 gets
//! the earlier answer, where its agent is configured so: exactly the same, by a digest of all that
//! is asked. Similar questions were left out: who decides that two questions are one must answer for
//! the wrong answers, and a digest never errs.
//!
//! The tenant is part of the digest and of the subject, and so is what the content filter does: what
//! is kept is what was recorded, after the filter.

mod key;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nexus_bus::shelf::{LARGEST_BYTES, Shelf};
use nexus_content::Rules;
use nexus_events::catalog::Price;
use nexus_events::content::{Direction, Finding};
use nexus_events::model::{FinishReason, Usage};
use nexus_events::run::{CachedAnswer, LlmCompleted, ModelOutcome, ReservationGranted};
use nexus_events::{Tenant, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::provider::{Capability, ChatRequest, ModelInfo};

/// What a lookup may delay a call by.
const LOOKUP: Duration = Duration::from_millis(20);
/// What keeping an answer may take, and how many are being kept at once; nobody waits for it.
const KEEPING: Duration = Duration::from_secs(2);
const MOST_KEEPING: usize = 64;
/// As long as the stream keeps anything.
const LONGEST_TTL: u64 = 7 * 24 * 3600;

/// Whether and how an agent's answers are given again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Seconds for which an answer may be given again, at most seven days.
    pub ttl_seconds: u64,
    /// What a call costs that was answered so.
    pub hits: Hits,
    /// The same, as a percentage of the price.
    pub hit_price_percent: Option<u8>,
}

/// What a call costs that nobody was called for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hits {
    /// Nothing, and no tokens.
    #[default]
    Free,
    /// What the earlier one did.
    Full,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            ttl_seconds: 24 * 3600,
            hits: Hits::default(),
            hit_price_percent: None,
        }
    }
}

/// A cache that cannot be configured so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// Its time.
    #[error("agents.{0}.cache.ttl_seconds must be 1 to {LONGEST_TTL}")]
    Ttl(String),
    /// Its price.
    #[error("agents.{0}.cache.hit_price_percent must be 0 to 100, without hits = \"full\"")]
    Price(String),
}

/// The agents whose answers are given again.
#[derive(Clone, Debug, Default)]
pub struct Caches(BTreeMap<String, CacheConfig>);

impl Caches {
    /// Those of a configuration, by the agents' names.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn new(configured: BTreeMap<String, CacheConfig>) -> Result<Self, CacheError> {
        for (agent, config) in &configured {
            if !(1..=LONGEST_TTL).contains(&config.ttl_seconds) {
                return Err(CacheError::Ttl(agent.clone()));
            }
            let percent = config.hit_price_percent;
            if percent.is_some_and(|percent| percent > 100 || config.hits == Hits::Full) {
                return Err(CacheError::Price(agent.clone()));
            }
        }
        Ok(Self(configured))
    }

    /// What is asked, where its answer may be given again; asking so makes it a call at temperature
    /// 0. A caller who wants another temperature wants another answer each time, and models that
    /// think take no temperature.
    pub(crate) fn question(
        &self,
        agent: &str,
        tenant: &Tenant,
        models: &[&ModelInfo],
        request: &mut ChatRequest,
        after: (&Rules, &[String]),
    ) -> Option<Question> {
        let config = self.0.get(agent)?;
        let takes_one = |model: &&ModelInfo| {
            !model.reasoning && model.capabilities.contains(&Capability::Sampling)
        };
        if !models.iter().all(takes_one) {
            return None;
        }
        let temperature = *request.temperature.get_or_insert(0.0);
        let digest = (temperature == 0.0).then(|| key::digest(tenant, models, request, after));
        let prices = models.iter().map(|model| model.price);
        Some(Question {
            price: prices.fold(Price::default(), Price::or_dearer),
            tenant: tenant.clone(),
            digest: digest??,
            config: config.clone(),
            max_output: u64::from(request.max_tokens),
        })
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    tenant: Tenant,
    digest: String,
    config: CacheConfig,
    max_output: u64,
    /// Of the dearest that could be asked.
    price: Price,
}

/// What is kept: the answer as it was recorded.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    at: Timestamp,
    answer: LlmCompleted,
}

/// An answer that is to be kept once it is recorded.
pub(crate) struct Fresh {
    question: Question,
    kept: Kept,
}

/// Where answers are kept.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    shelf: Shelf,
    keeping: Arc<Semaphore>,
}

impl Answers {
    pub(crate) fn new(shelf: Shelf) -> Self {
        Self {
            shelf,
            keeping: Arc::new(Semaphore::new(MOST_KEEPING)),
        }
    }

    /// The earlier answer, if there is one that may be given within what is reserved.
    pub(crate) async fn find(
        &self,
        question: &Question,
        grant: &ReservationGranted,
        now: Timestamp,
    ) -> Option<LlmCompleted> {
        let Question { tenant, digest, .. } = question;
        let value = self.shelf.get(tenant, digest, LOOKUP).await?;
        let kept: Kept = serde_json::from_slice(&value).ok()?;
        given_again(question, kept, grant, now)
    }

    /// Keeps an answer; nobody waits for it, and where too many are being kept it is not.
    pub(crate) fn keep(&self, fresh: Fresh) {
        let Ok(place) = Arc::clone(&self.keeping).try_acquire_owned() else {
            return;
        };
        let Ok(value) = serde_json::to_vec(&fresh.kept) else {
            return;
        };
        let shelf = self.shelf.clone();
        tokio::spawn(async move {
            let Question {
                tenant,
                digest,
                config,
                ..
            } = &fresh.question;
            let ttl = Duration::from_secs(config.ttl_seconds);
            shelf.put(tenant, digest, value.into(), ttl, KEEPING).await;
            drop(place);
        });
    }
}

/// What is to be kept of an outcome: a whole answer that is small enough.
pub(crate) fn fresh(
    question: Option<Question>,
    outcome: &ModelOutcome,
    now: Timestamp,
) -> Option<Fresh> {
    let (question, ModelOutcome::Completed(done)) = (question?, outcome) else {
        return None;
    };
    let whole = matches!(done.finish, FinishReason::Stop | FinishReason::ToolCalls);
    let small = done
        .text
        .inline()
        .is_some_and(|text| text.len() < LARGEST_BYTES);
    (whole && small).then(|| Fresh {
        question,
        kept: Kept {
            at: now,
            answer: done.clone(),
        },
    })
}

/// The outcome that an earlier answer is for this call; none where it is too old, longer than the
/// call may answer, or costs more than is held.
fn given_again(
    question: &Question,
    kept: Kept,
    grant: &ReservationGranted,
    now: Timestamp,
) -> Option<LlmCompleted> {
    let Kept { at, answer } = kept;
    let age_ms = now.millis_since(at);
    let config = &question.config;
    if age_ms > config.ttl_seconds.saturating_mul(1000)
        || answer.usage.output_tokens > question.max_output
    {
        return None;
    }
    let (usage, cost_usd_micros) = charge(config, &question.price, answer.usage);
    let held = &grant.amounts;
    if usage.total_tokens() > held.tokens || cost_usd_micros > held.cost_usd_micros {
        return None;
    }
    let of_output = |found: &Finding| found.direction == Direction::Output;
    Some(LlmCompleted {
        turn: grant.turn,
        usage,
        cost_usd_micros,
        duration_ms: 0,
        time_to_first_token_ms: None,
        attempts: 0,
        response_id: None,
        routing: None,
        route: format!("the answer of {at} is given again"),
        findings: answer
            .findings
            .iter()
            .filter(|found| of_output(found))
            .cloned()
            .collect(),
        cached: Some(CachedAnswer {
            digest: format!("sha256:{}", question.digest),
            at,
        }),
        ..answer
    })
}

fn charge(config: &CacheConfig, price: &Price, usage: Usage) -> (Usage, u64) {
    let percent = match (config.hit_price_percent, config.hits) {
        (Some(percent), _) => u64::from(percent),
        (None, Hits::Full) => 100,
        (None, Hits::Free) => return (Usage::default(), 0),
    };
    let full = u128::from(price.cost_usd_micros(&usage));
    let cost = (full * u128::from(percent)).div_ceil(100);
    (usage, u64::try_from(cost).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;

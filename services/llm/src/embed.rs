//! A run that makes vectors: its texts go through the content filter, to an endpoint of the model,
//! and what comes back is the outcome. What is reserved, tried again, stopped and charged is as for
//! any model call.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nexus_bus::{Delivery, Failure};
use nexus_content::Rules;
use nexus_events::Tenant;
use nexus_events::command::RunRef;
use nexus_events::content::Finding;
use nexus_events::model::{FinishReason, Message, Usage};
use nexus_events::run::{
    Embedding, FailedCall, LlmFailed, ModelOutcome, ReservationGranted, Run, TextsEmbedded,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::attempts::{self, Called, Plan};
use crate::outcome::{self, About};
use crate::provider::{Completion, EmbedRequest, Embeddings};
use crate::{LlmRole, filter, given, stop};

const NUMBER_BYTES: usize = size_of::<f32>();

/// What is to become vectors: what the run's state said when the command came.
pub(crate) struct Texts {
    embedding: Embedding,
    model: String,
    grant: ReservationGranted,
    round: u32,
    failed: Vec<FailedCall>,
    rules: Rules,
}

impl Texts {
    /// Of a run that embeds.
    pub(crate) fn of(run: &Run, grant: &ReservationGranted, rules: Rules) -> Option<Self> {
        Some(Self {
            embedding: run.given()?.embedding.clone()?,
            model: run.model.clone(),
            grant: grant.clone(),
            round: run.round,
            failed: run.failed_calls.clone(),
            rules,
        })
    }
}

impl LlmRole {
    /// Has the vectors made and says how it went.
    pub(crate) async fn embed(
        &self,
        delivery: &Delivery,
        reference: RunRef,
        asked: Texts,
    ) -> Result<ModelOutcome, Failure> {
        let (tenant, grant) = (&delivery.envelope.tenant, &asked.grant);
        let endpoints = (self.models.endpoints(&asked.model))
            .map_err(|error| Failure::retry(error.to_string()))?;
        let body = Some(asked.embedding.texts.clone());
        let mut texts = given::list::<String>(&self.objects, tenant, body).await?;
        let found = match self.checked(&asked, &mut texts).await {
            Ok(found) => found,
            Err(failed) => return Ok(*failed),
        };
        let most_numbers = most_numbers(self.objects.limit_bytes());
        let wanted = asked.embedding.dimensions.unwrap_or(1) as usize;
        if texts.len().saturating_mul(wanted) > most_numbers {
            let unsent = failed(grant, "vectors_too_large", too_large(most_numbers), found);
            return Ok(ModelOutcome::Failed(unsent));
        }
        let request = EmbedRequest {
            model: String::new(),
            texts,
            dimensions: asked.embedding.dimensions,
            max_numbers: Some(most_numbers),
            input_bound: Some(grant.amounts.tokens),
        };
        let began = Instant::now();
        let deadline = began + Duration::from_millis(grant.amounts.time_ms);
        let place = u64::from(grant.turn) << 32 | u64::from(asked.round);
        let plan = Plan {
            router: &self.router,
            model: &asked.model,
            endpoints,
            grant,
            number: attempts::mix(reference.run_id.number() ^ place),
            failed: &asked.failed,
            has_next: false,
        };
        let stop = CancellationToken::new();
        let called = tokio::select! {
            called = attempts::embed(&plan, request, deadline, &stop) => called,
            never = stop::when_run_ends(&self.bus, &self.store, tenant, reference, &stop) => match never {},
        };
        let about = About {
            grant,
            model: &asked.model,
            endpoints,
            next_model: None,
            took: began.elapsed(),
            delivered: delivery.delivered,
        };
        let (called, made): (Called, _) = called.split(|made| (of(&made), made.vectors));
        let mut outcome = outcome::of(about, called, None);
        filter::note(&asked.rules.output, &mut outcome, None, found);
        match (outcome, made) {
            (ModelOutcome::Completed(call), Some(vectors)) => {
                self.kept(tenant, grant, call, &vectors, most_numbers).await
            }
            (outcome, _) => Ok(outcome),
        }
    }

    /// Filters what goes to the model. A text may have more tokens afterwards than before, and there is no
    /// answer that could be so much shorter: what is not reserved is not sent.
    async fn checked(
        &self,
        asked: &Texts,
        texts: &mut Vec<String>,
    ) -> Result<Vec<Finding>, Box<ModelOutcome>> {
        let side = &asked.rules.input;
        if side.is_off() {
            return Ok(vec![]);
        }
        let mut messages: Vec<Message> = (texts.drain(..))
            .map(|text| Message::User { text })
            .collect();
        let (found, result) = filter::input(side, &mut messages);
        if let Err(refused) = result {
            let outcome = filter::not_called(&asked.grant, &refused, found);
            return Err(Box::new(outcome));
        }
        texts.extend(messages.into_iter().filter_map(|message| match message {
            Message::User { text } => Some(text),
            _ => None,
        }));
        if found.is_empty() {
            return Ok(found);
        }
        let model = self.catalog.embedders.get(&asked.model);
        let tokenizer = model.and_then(|model| model.tokenizer);
        if nexus_tokens::of_texts(tokenizer, texts).await > asked.grant.amounts.tokens {
            let message = "what the content filter puts in the place of what it found may have more \
                           tokens than that, and they are not reserved; take it out of the texts";
            let failed = failed(&asked.grant, filter::REFUSED, message.to_owned(), found);
            return Err(Box::new(ModelOutcome::Failed(failed)));
        }
        Ok(found)
    }

    /// The outcome with its vectors, which are stored where they are long.
    async fn kept(
        &self,
        tenant: &Tenant,
        grant: &ReservationGranted,
        call: nexus_events::run::LlmCompleted,
        vectors: &[Vec<f32>],
        most_numbers: usize,
    ) -> Result<ModelOutcome, Failure> {
        let count = u32::try_from(vectors.len()).unwrap_or(u32::MAX);
        let dimensions = vectors.first().map_or(0, Vec::len);
        if dimensions.saturating_mul(vectors.len()) > most_numbers {
            // They were made, and are charged.
            return Ok(ModelOutcome::Failed(LlmFailed {
                usage: call.usage,
                cost_usd_micros: call.cost_usd_micros,
                duration_ms: call.duration_ms,
                attempts: call.attempts,
                routing: call.routing,
                ..failed(
                    grant,
                    "vectors_too_large",
                    too_large(most_numbers),
                    call.findings,
                )
            }));
        }
        let text = encoded(vectors);
        Ok(ModelOutcome::Embedded(Box::new(TextsEmbedded {
            call,
            vectors: self.objects.offload(tenant, text).await?,
            count,
            dimensions: u32::try_from(dimensions).unwrap_or(u32::MAX),
        })))
    }
}

/// A call that gave nothing that may be given on, and cost nothing.
fn failed(
    grant: &ReservationGranted,
    code: &str,
    message: String,
    findings: Vec<Finding>,
) -> LlmFailed {
    LlmFailed {
        turn: grant.turn,
        code: code.to_owned(),
        message,
        usage: Usage::default(),
        cost_usd_micros: 0,
        duration_ms: 0,
        attempts: 0,
        findings,
        again: None,
        routing: None,
    }
}

fn too_large(most_numbers: usize) -> String {
    format!(
        "the vectors have more than {most_numbers} numbers together, all that this installation keeps at \
         once (limits.object_bytes); give fewer texts, or ask for fewer dimensions"
    )
}

/// The call as it is recorded: it says nothing.
fn of(made: &Embeddings) -> Completion {
    Completion {
        text: String::new(),
        tool_calls: vec![],
        finish: FinishReason::Stop,
        usage: made.usage,
        response_id: None,
        response_model: None,
        time_to_first_token: None,
    }
}

/// Numbers whose base64 is this long at most.
fn most_numbers(bytes: u64) -> usize {
    usize::try_from(bytes / 4 * 3).unwrap_or(usize::MAX) / NUMBER_BYTES
}

fn encoded(vectors: &[Vec<f32>]) -> String {
    let numbers = vectors.iter().flatten();
    let bytes: Vec<u8> = numbers.flat_map(|number| number.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_bounded_fits_when_it_is_encoded() {
        for bytes in [0, 16, 1_000, 16 << 20] {
            let most = most_numbers(bytes);
            let vectors = [vec![0.5_f32; most.min(4_000)]];
            let text = encoded(&vectors);
            assert_eq!(text.len(), (most.min(4_000) * NUMBER_BYTES).div_ceil(3) * 4);
            assert!((most * NUMBER_BYTES).div_ceil(3) * 4 <= bytes as usize);
        }
        // 2,048 vectors of 1,536 numbers in what is configured by default.
        assert_eq!(most_numbers(16 << 20), 2_048 * 1_536);
    }
}

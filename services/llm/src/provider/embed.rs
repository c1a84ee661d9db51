//! Embeddings: texts to vectors. Smaller than a conversation in every way: nothing is streamed, and
//! only the prompt is billed.

use nexus_events::model::Usage;

use super::bound;
use super::error::{Failure, Partial, ProviderError};

/// What is to become vectors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EmbedRequest {
    /// The model's name at the provider, [`super::ModelInfo::wire_name`].
    pub model: String,
    /// The texts.
    pub texts: Vec<String>,
    /// How many numbers each vector is to have, where the model leaves a choice.
    pub dimensions: Option<u32>,
    /// Numbers of all vectors together that can be taken; what the provider may send beyond an answer's
    /// usual bound follows from it.
    pub max_numbers: Option<usize>,
    /// The caller's own bound on the tokens, as in [`super::ChatRequest::input_bound`].
    pub input_bound: Option<u64>,
}

impl EmbedRequest {
    /// What is charged where the provider says nothing.
    pub(super) fn bound(&self) -> Usage {
        let bytes: u64 = self
            .texts
            .iter()
            .map(|text| bound::tokens(text.len()))
            .sum();
        // Each text may be framed by a token at its beginning and its end.
        let framing = bound::tokens(self.texts.len()).saturating_mul(2);
        let bound = bytes.saturating_add(framing);
        Usage {
            input_tokens: self.input_bound.map_or(bound, |own| own.min(bound)),
            estimated: true,
            ..Usage::default()
        }
    }
}

/// Vectors, in the order of the texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// One for each text.
    pub vectors: Vec<Vec<f32>>,
    /// What they cost; there are no output tokens.
    pub usage: Usage,
}

/// For what makes no vectors.
pub(super) fn unsupported(who: &str) -> Failure {
    Failure::Permanent {
        status: None,
        code: "embeddings_unsupported".to_owned(),
        message: format!("{who} makes no embeddings; use a model of another provider for them"),
    }
}

/// A failure before anything was sent.
pub(super) fn unsent(failure: Failure) -> ProviderError {
    ProviderError {
        failure,
        partial: Box::new(Partial::default()),
    }
}

//! Whose protocol a route speaks. Everything but the platform's own is known by its path alone, so
//! that a refusal of a layer around the handler has the right shape, too.

/// Chat completions, as OpenAI's clients ask for them.
pub(crate) const CHAT: &str = "/v1/chat/completions";
/// Vectors of texts, as OpenAI's clients ask for them.
pub(crate) const EMBEDDINGS: &str = "/v1/embeddings";
/// Models and agents, in OpenAI's form.
pub(crate) const MODELS: &str = "/v1/models";
/// One of them.
pub(crate) const MODEL: &str = "/v1/models/{model}";
/// Messages, as Anthropic's clients ask for them.
pub(crate) const MESSAGES: &str = "/v1/messages";

/// Responses, as OpenAI's clients ask for them.
pub(crate) const RESPONSES: &str = "/v1/responses";
/// One of them.
pub(crate) const RESPONSE: &str = "/v1/responses/{response_id}";
/// Stops one of them.
pub(crate) const CANCEL: &str = "/v1/responses/{response_id}/cancel";

/// Tools and agents, as clients of the Model Context Protocol ask for them. It has errors of its own
/// in its answers, and leaves refusals of the layers around it as they are.
pub(crate) const MCP: &str = "/mcp";

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tongue {
    /// The platform's own.
    Own,
    OpenAi,
    /// OpenAI's, with fields of other names: of responses and of vectors.
    Responses,
    Anthropic,
}

impl Tongue {
    /// That of a route.
    pub(crate) fn of(route: &str) -> Self {
        match route {
            CHAT | MODELS | MODEL => Self::OpenAi,
            EMBEDDINGS | RESPONSES | RESPONSE | CANCEL => Self::Responses,
            MESSAGES => Self::Anthropic,
            _ => Self::Own,
        }
    }
}

/// Whether a route waits for a run's end by its nature.
pub(crate) fn waits(route: &str) -> bool {
    matches!(route, CHAT | EMBEDDINGS | MESSAGES | RESPONSES | MCP)
}

//! Whose protocol a route speaks. Everything but the platform's own is known by its path alone, so
//! that a refusal of a layer around the handler has the right shape, too.

/// Chat completions, as OpenAI's clients ask for them.
pub(crate) const CHAT: &str = "/v1/chat/completions";
/// Models and agents, in OpenAI's form.
pub(crate) const MODELS: &str = "/v1/models";
/// One of them.
pub(crate) const MODEL: &str = "/v1/models/{model}";
/// Messages, as Anthropic's clients ask for them.
pub(crate) const MESSAGES: &str = "/v1/messages";

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tongue {
    /// The platform's own.
    Own,
    OpenAi,
    Anthropic,
}

impl Tongue {
    /// That of a route.
    pub(crate) fn of(route: &str) -> Self {
        match route {
            CHAT | MODELS | MODEL => Self::OpenAi,
            MESSAGES => Self::Anthropic,
            _ => Self::Own,
        }
    }
}

/// Whether a route waits for a run's end by its nature.
pub(crate) fn waits(route: &str) -> bool {
    matches!(route, CHAT | MESSAGES)
}

//! What the caller of a run brought for its model calls: earlier messages, tools, how to answer.

use nexus_bus::Failure;
use nexus_bus::objects::Objects;
use nexus_events::model::{ToolSpec, ToolUse};
use nexus_events::run::Given;
use nexus_events::{Body, Tenant};
use serde::de::DeserializeOwned;

use crate::provider::{ChatRequest, ToolChoice};

/// How the turn's model is to answer.
pub(crate) fn sampling(given: Option<&Given>, turn: u32) -> ChatRequest {
    let Some(wanted) = given.and_then(|given| given.sampling.as_ref()) else {
        return ChatRequest::default();
    };
    ChatRequest {
        tool_choice: match wanted.tool_use {
            Some(ToolUse::None) => ToolChoice::None,
            // A model that must call tools in every turn never comes to an answer.
            Some(ToolUse::Required) if turn == 1 => match &wanted.tool_name {
                Some(name) => ToolChoice::Named(name.clone()),
                None => ToolChoice::Required,
            },
            _ => ToolChoice::Auto,
        },
        temperature: wanted.temperature,
        top_p: wanted.top_p,
        stop: wanted.stop.clone(),
        seed: wanted.seed,
        response_schema: wanted.response_schema.clone(),
        ..ChatRequest::default()
    }
}

/// What the model is told of the caller's tools.
pub(crate) async fn specs(
    objects: &Objects,
    tenant: &Tenant,
    specs: Option<Body>,
) -> Result<Vec<ToolSpec>, Failure> {
    list(objects, tenant, specs).await
}

/// A list that an event holds as JSON text.
pub(crate) async fn list<T: DeserializeOwned>(
    objects: &Objects,
    tenant: &Tenant,
    body: Option<Body>,
) -> Result<Vec<T>, Failure> {
    let Some(body) = body else {
        return Ok(vec![]);
    };
    let text = objects.resolve(tenant, &body).await?;
    serde_json::from_str(&text).map_err(|error| Failure::Dead {
        reason: format!("what the run's caller brought cannot be read: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use nexus_events::model::Sampling;

    use super::*;

    #[test]
    fn tools_must_be_called_in_the_first_turn_only() {
        let given = |tool_use| Given {
            sampling: Some(Sampling {
                tool_use: Some(tool_use),
                ..Sampling::default()
            }),
            ..Given::default()
        };
        let choice = |tool_use, turn| sampling(Some(&given(tool_use)), turn).tool_choice;
        assert_eq!(choice(ToolUse::Required, 1), ToolChoice::Required);
        assert_eq!(choice(ToolUse::Required, 2), ToolChoice::Auto);
        assert_eq!(choice(ToolUse::None, 2), ToolChoice::None);
        let mut named = given(ToolUse::Required);
        if let Some(sampling) = &mut named.sampling {
            sampling.tool_name = Some("a".to_owned());
        }
        let choice = |turn| sampling(Some(&named), turn).tool_choice;
        assert_eq!(choice(1), ToolChoice::Named("a".to_owned()));
        assert_eq!(choice(2), ToolChoice::Auto);
        assert_eq!(sampling(None, 1).tool_choice, ToolChoice::Auto);
    }
}

//! What a run may name: agents, models.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use nexus_events::agent;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::http::ApiError;
use crate::openai::request::{AGENT, named};

/// Agents.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Agents {
    /// All of them.
    items: Vec<Agent>,
}

/// An agent.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Agent {
    /// Its name.
    name: &'static str,
    /// Its version.
    version: &'static str,
    /// What the model is told first.
    instructions: &'static str,
    /// Tools that it may use when the caller names none.
    tools: &'static [&'static str],
    /// Model calls that a run may make.
    max_turns: u32,
}

/// The agents.
pub(crate) async fn agents() -> Json<Agents> {
    let items = agent::all().iter().map(|agent| Agent {
        name: agent.name,
        version: agent.version,
        instructions: agent.instructions,
        tools: agent.tools,
        max_turns: agent.max_turns,
    });
    Json(Agents {
        items: items.collect(),
    })
}

/// Models, in OpenAI's form.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Models {
    /// Always `list`.
    object: &'static str,
    /// All of them.
    data: Vec<Model>,
}

/// A model or an agent, in OpenAI's form.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Model {
    /// Its name here; of an agent, `agent:` and its name.
    id: String,
    /// Always `model`.
    object: &'static str,
    /// When this gateway began, in seconds since the epoch: models have no date of their own.
    created: i64,
    /// The provider that serves it; `nexus` for agents.
    owned_by: String,
}

/// One model or agent.
pub(crate) async fn model(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<Model>, ApiError> {
    // Says what is wrong in the same words as where it is asked for an answer.
    if !app.catalog().embedders.contains_key(&name) {
        named(&name, app.catalog())?;
    }
    let found = all(&app).into_iter().find(|model| model.id == name);
    let found = found.ok_or_else(|| ApiError::not_found("model", &name));
    found.map(Json)
}

/// The models, the default one first, and the agents.
pub(crate) async fn models(State(app): State<App>) -> Json<Models> {
    Json(Models {
        object: "list",
        data: all(&app),
    })
}

fn all(app: &App) -> Vec<Model> {
    let catalog = app.catalog();
    let embed = (catalog.embedders.iter()).filter(|(name, _)| !catalog.models.contains_key(*name));
    let mut data: Vec<Model> = (catalog.models.iter().chain(embed))
        .map(|(name, info)| Model {
            id: name.clone(),
            object: "model",
            created: app.started_s(),
            owned_by: info.provider.clone(),
        })
        .collect();
    data.sort_by_key(|model| model.id != catalog.default_model);
    let agents = agent::all().iter().map(|agent| agent.name);
    data.extend(
        agents
            .collect::<BTreeSet<_>>()
            .into_iter()
            .map(|name| Model {
                id: format!("{AGENT}{name}"),
                object: "model",
                created: app.started_s(),
                owned_by: "nexus".to_owned(),
            }),
    );
    data
}

//! What is configured of routes.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::provider::Models;

/// Routes and what closes their endpoints.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoutingConfig {
    /// By a model's name.
    pub routes: BTreeMap<String, RouteConfig>,
    /// When an endpoint that fails is left alone.
    pub breaker: BreakerConfig,
}

/// How the calls of one model are shared out among its endpoints.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouteConfig {
    /// Which endpoint is taken first.
    pub strategy: Strategy,
    /// Milliseconds without a first token after which another endpoint is asked too. Without it,
    /// none is.
    pub hedge_after_ms: Option<u64>,
    /// By the provider's name.
    pub endpoints: BTreeMap<String, EndpointConfig>,
}

/// Which endpoint is taken first; the others follow where it is closed or fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The first, in the order of configuration.
    #[default]
    Priority,
    /// By weight.
    Weighted,
    /// The one that began to answer soonest of late; now and then another, for what it does now.
    LeastLatency,
    /// The cheapest.
    LeastCost,
    /// The one that this process has the fewest calls at.
    LeastBusy,
}

impl Strategy {
    /// As it is configured.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Priority => "priority",
            Self::Weighted => "weighted",
            Self::LeastLatency => "least_latency",
            Self::LeastCost => "least_cost",
            Self::LeastBusy => "least_busy",
        }
    }
}

/// One endpoint of a route. Limits are those of one process.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointConfig {
    /// Its share, with `weighted`.
    pub weight: u32,
    /// Most calls begun in a minute.
    pub requests_per_minute: Option<u32>,
    /// Most tokens in a minute, of prompts and answers.
    pub tokens_per_minute: Option<u64>,
    /// Most calls at once.
    pub concurrency: Option<u32>,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            weight: 1,
            requests_per_minute: None,
            tokens_per_minute: None,
            concurrency: None,
        }
    }
}

/// When an endpoint that fails is left alone, and for how long.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerConfig {
    /// So many failures within the window, if they are half of the calls or more, open it.
    pub failures: u32,
    /// The window, in milliseconds.
    pub window_ms: u64,
    /// How long it is left alone at first, in milliseconds; twice as long after each probe that
    /// fails.
    pub pause_ms: u64,
    /// The longest such pause, in milliseconds.
    pub longest_pause_ms: u64,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures: 5,
            window_ms: 60_000,
            pause_ms: 5_000,
            longest_pause_ms: 60_000,
        }
    }
}

/// A route that cannot be served.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Nobody serves the model.
    #[error("models.routes.{0:?} is a route of a model that no provider serves")]
    Model(String),
    /// The provider does not serve it.
    #[error(
        "models.routes.{model:?}.endpoints.{endpoint:?} is no provider of that model; it is served \
         by: {}", known.join(", ")
    )]
    Endpoint {
        /// The model.
        model: String,
        /// The provider that was named.
        endpoint: String,
        /// Those that serve it.
        known: Vec<String>,
    },
}

impl RoutingConfig {
    /// Checks names against what is served. A misspelt one would otherwise never be noticed.
    ///
    /// # Errors
    /// [`RouteError`].
    pub fn check(&self, models: &Models) -> Result<(), RouteError> {
        for (model, route) in &self.routes {
            let endpoints = models.endpoints(model);
            let endpoints = endpoints.map_err(|_| RouteError::Model(model.clone()))?;
            let known = || endpoints.iter().map(|endpoint| &endpoint.model.provider);
            if let Some(endpoint) =
                (route.endpoints.keys()).find(|name| !known().any(|k| k == *name))
            {
                return Err(RouteError::Endpoint {
                    model: model.clone(),
                    endpoint: endpoint.clone(),
                    known: known().cloned().collect(),
                });
            }
        }
        Ok(())
    }
}

//! Tools that this process serves over the bus, and what it saw of them. It is the world outside of the
//! platform: it dies with nobody, and each call that reaches it is an effect.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{HeaderMap, Message};
use futures_util::StreamExt;
use nexus_events::tool::ToolDefinition;
use nexus_events::{RunId, subject};
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;

use super::error::ChaosError;
use super::load::{TENANTS, tenant};

/// How long the slow one takes.
const SLOW: Duration = Duration::from_millis(1_500);
const SUBSCRIPTION_BUFFER: usize = 4_096;

/// What runs may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    /// Built in.
    Calculator,
    /// May be executed twice.
    Read,
    /// May not.
    Pay,
    /// May not, and takes its time.
    Slow,
    /// May not, and people are asked first.
    Signed,
    /// Policy denies it.
    Forbidden,
}

impl Tool {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::Calculator,
        Self::Read,
        Self::Pay,
        Self::Slow,
        Self::Signed,
        Self::Forbidden,
    ];

    /// As models call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Calculator => "calculator",
            Self::Read => "witness_read",
            Self::Pay => "witness_pay",
            Self::Slow => "witness_slow",
            Self::Signed => "witness_signed",
            Self::Forbidden => "witness_forbidden",
        }
    }

    /// Whether twice is as good as once.
    pub(crate) fn is_idempotent(name: &str) -> bool {
        [Self::Calculator.name(), Self::Read.name()].contains(&name)
    }

    /// What is registered; nothing of what is built in.
    pub(crate) fn definition(self, version: &str) -> Option<ToolDefinition> {
        let definition = json!({
            "name": self.name(), "version": version, "description": "Is watched.",
            "category": "http", "kind": "nats", "idempotent": Self::is_idempotent(self.name()),
            "input_schema": { "type": "object" }, "limits": { "timeout": "20s" },
        });
        (self != Self::Calculator)
            .then(|| serde_json::from_value(definition).ok())
            .flatten()
    }
}

/// A call that reached the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Effect {
    /// The tool.
    pub(crate) tool: String,
    /// The version that was asked for.
    pub(crate) version: String,
    /// Whose.
    pub(crate) tenant: String,
    /// The run.
    pub(crate) run_id: RunId,
    /// Its turn.
    pub(crate) turn: u32,
    /// The call.
    pub(crate) call_id: String,
    /// What makes two calls one.
    pub(crate) key: String,
}

/// The world.
#[derive(Debug)]
pub(crate) struct Witness {
    seen: Arc<Mutex<Vec<Effect>>>,
    _serving: JoinSet<()>,
}

impl Witness {
    /// Serves every tool of every tenant.
    ///
    /// # Errors
    /// [`ChaosError::Setup`]: the bus is not there.
    pub(crate) async fn serve(url: &str) -> Result<Self, ChaosError> {
        let failed = |error: String| ChaosError::Setup(format!("the witness: {error}"));
        let options = async_nats::ConnectOptions::new()
            .max_reconnects(None)
            .subscription_capacity(SUBSCRIPTION_BUFFER)
            .reconnect_delay_callback(|_| Duration::from_millis(50));
        let servers: Vec<&str> = url.split(',').collect();
        let client = options.connect(servers.as_slice()).await;
        let client = client.map_err(|error| failed(error.to_string()))?;
        let seen = Arc::new(Mutex::new(vec![]));
        let mut serving = JoinSet::new();
        for owner in TENANTS {
            for tool in Tool::ALL
                .into_iter()
                .filter(|tool| *tool != Tool::Calculator)
            {
                let of = subject::tool(&tenant(owner), tool.name());
                let calls = client.subscribe(of).await;
                let mut calls = calls.map_err(|error| failed(error.to_string()))?;
                let (client, seen) = (client.clone(), Arc::clone(&seen));
                serving.spawn(async move {
                    while let Some(call) = calls.next().await {
                        tokio::spawn(answer(client.clone(), Arc::clone(&seen), owner, tool, call));
                    }
                });
            }
        }
        client
            .flush()
            .await
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            seen,
            _serving: serving,
        })
    }

    /// All effects so far, in their order.
    pub(crate) fn effects(&self) -> Vec<Effect> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn answer(
    client: async_nats::Client,
    seen: Arc<Mutex<Vec<Effect>>>,
    owner: &'static str,
    tool: Tool,
    call: Message,
) {
    let (Some(reply), Some(headers)) = (call.reply, call.headers) else {
        return;
    };
    let Some(effect) = effect(&headers, owner, tool) else {
        return;
    };
    if tool == Tool::Slow {
        tokio::time::sleep(SLOW).await;
    }
    let answer = json!({ "output": { "done": effect.key } }).to_string();
    seen.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(effect);
    // An answer that is lost is the platform's to sort out.
    let _ = client.publish(reply, answer.into()).await;
}

fn effect(headers: &HeaderMap, owner: &str, tool: Tool) -> Option<Effect> {
    let text = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
    Some(Effect {
        tool: tool.name().to_owned(),
        version: text("nexus-tool-version")?,
        tenant: owner.to_owned(),
        run_id: text("nexus-run")?.parse().ok()?,
        turn: text("nexus-turn")?.parse().ok()?,
        call_id: text("nexus-call")?,
        key: text("idempotency-key")?,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[test]
    fn definitions_say_what_is_counted() {
        for tool in Tool::ALL
            .into_iter()
            .filter(|tool| *tool != Tool::Calculator)
        {
            let definition = tool.definition("1.0.0").unwrap();
            assert_eq!(definition.name, tool.name());
            assert_eq!(definition.idempotent, Tool::is_idempotent(tool.name()));
        }
        assert_eq!(Tool::Calculator.definition("1.0.0"), None);
    }
}

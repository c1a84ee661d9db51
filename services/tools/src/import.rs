//! `tool.import`: a server is asked for its tools, and those that can be taken are registered in one
//! decision. One that cannot does not keep the others out; the answer says why.

use nexus_bus::{Delivery, Failure, process};
use nexus_events::command::ImportTools;
use nexus_events::tool::ToolKind;
use nexus_events::tool::registry::{self, Tools};
use nexus_events::{Aggregate, AggregateId, DomainError, Position};
use nexus_mcp::{Imported, Wanted, imported};
use serde_json::{Value, json};

use crate::ToolsRole;
use crate::validate::schema::Schema;

/// Tools that can be named.
const MOST_NAMED: usize = 256;
/// Of all definitions of one import: they are one message of the log.
const MOST_BYTES: usize = 512 << 10;

impl ToolsRole {
    pub(crate) async fn import(
        &self,
        delivery: &Delivery,
        command: ImportTools,
    ) -> Result<(), Failure> {
        if command.tools.len() > MOST_NAMED {
            let reason = format!("at most {MOST_NAMED} can be named");
            return Err(DomainError::invalid("tools", reason).into());
        }
        let tenant = delivery.envelope.tenant.as_str();
        let refused = |error: nexus_mcp::CallError| {
            Failure::Reject(DomainError::invalid("server", error.to_string()))
        };
        let config = self
            .settings
            .servers
            .config(tenant, &command.server)
            .map_err(refused)?;
        let listing = self
            .settings
            .servers
            .list(tenant, &command.server)
            .await
            .map_err(refused)?;
        let wanted = Wanted {
            tools: &command.tools,
            version: command.version.as_deref(),
        };
        let offered = checked(imported(config, &listing, &wanted));
        let exact = command.version.is_some();
        let mut new = Vec::new();
        let decide = |tools: &Tools| {
            let mut after = tools.clone();
            new.clear();
            let mut all = vec![];
            for draft in &offered.tools {
                // What is refused is said in the answer.
                let events = registry::import(&after, draft.clone(), exact).unwrap_or_default();
                if !events.is_empty() {
                    new.push(draft.name.clone());
                }
                events
                    .iter()
                    .for_each(|event| after.evolve(event, Position::default()));
                all.extend(events);
            }
            Ok(all)
        };
        let (store, bus) = (&self.store, &self.bus);
        let done = process::decide(store, bus, delivery, &AggregateId::ONLY, decide).await?;
        let state = &done.guard.state;
        let mut answer = answer(&command.server, offered, state, &new, exact);
        if let Some(fields) = answer.as_object_mut() {
            fields.insert("seq".to_owned(), done.seq.into());
        }
        process::reply(bus, delivery, &answer).await;
        Ok(())
    }
}

/// What no decision is needed for.
fn checked(mut offered: Imported) -> Imported {
    let mut bytes = 0;
    for draft in std::mem::take(&mut offered.tools) {
        let schemas = [Some(&draft.input_schema), draft.output_schema.as_ref()];
        let fault = schemas
            .into_iter()
            .flatten()
            .find_map(|schema| Schema::compile(schema).err());
        let size = serde_json::to_string(&draft).map_or(usize::MAX, |text| text.len());
        match fault {
            Some(fault) => offered.refuse(remote(&draft.kind), fault.to_string()),
            None if size > MOST_BYTES - bytes => {
                let reason = "this is too much for one import; name fewer tools";
                offered.refuse(remote(&draft.kind), reason);
            }
            None => {
                bytes += size;
                offered.tools.push(draft);
            }
        }
    }
    offered
}

/// What became of each, by the state after the decision, so that a command that is delivered again
/// is answered alike.
fn answer(
    server: &str,
    mut offered: Imported,
    state: &Tools,
    new: &[String],
    exact: bool,
) -> Value {
    let mut tools = vec![];
    for draft in std::mem::take(&mut offered.tools) {
        let tool = remote(&draft.kind).to_owned();
        match (
            registry::import(state, draft.clone(), exact),
            registry::held(state, &draft),
        ) {
            (Err(error), _) => offered.refuse(&tool, error.to_string()),
            (Ok(_), Some(held)) => tools.push(json!({
                "tool": tool,
                "name": draft.name,
                "version": held.definition.version,
                "digest": held.digest,
                "new": new.contains(&draft.name),
            })),
            (Ok(_), None) => offered.refuse(&tool, "it was removed meanwhile"),
        }
    }
    let refused = offered.refused.iter();
    let refused = refused.map(|it| json!({ "tool": it.tool, "reason": it.reason }));
    json!({ "server": server, "tools": tools, "refused": refused.collect::<Vec<_>>() })
}

fn remote(kind: &ToolKind) -> &str {
    match kind {
        ToolKind::Mcp { tool, .. } => tool,
        _ => "",
    }
}

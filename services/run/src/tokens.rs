//! Tokens of what is said to a run, counted while the whole text is at hand and recorded with it, so
//! that neither a replay nor the ledger's role counts again.

use nexus_bus::store::ReadHint;
use nexus_bus::{Delivery, Failure};
use nexus_events::command::StartRun;
use nexus_events::model::ToolSpec;
use nexus_events::run::{self, Embed, Run};
use nexus_events::{DomainError, RunId};

use crate::RunRole;

impl RunRole {
    /// Tokens of the first prompt of the run that the command starts, `input` included. Where a model
    /// of the run has no tokenizer they are its bytes if a provider adds to its tools, and else none:
    /// then the fold knows as much.
    pub(crate) async fn prompt_tokens(
        &self,
        command: &StartRun,
        tools: &[ToolSpec],
        input: &str,
    ) -> Result<Option<u64>, DomainError> {
        let chosen = run::choose(command, &self.catalog)?;
        if let Some(embed) = &command.embed {
            return Ok(Some(self.embed_tokens(embed, &chosen.model).await));
        }
        let tokenizers = self.catalog.tokenizers(chosen.agent.name, &chosen.model);
        let overhead = match tools.is_empty() && command.client_tools.is_empty() {
            true => 0,
            false => (self.catalog).tool_overhead_tokens(chosen.agent.name, &chosen.model),
        };
        if tokenizers.is_empty() && overhead == 0 {
            return Ok(None);
        }
        let prompt = run::prompt(chosen.agent, tools);
        let brought = run::brought(command);
        let texts = prompt.texts.iter().chain(&brought.texts);
        let mut texts: Vec<&str> = texts.map(String::as_str).collect();
        texts.push(input);
        let template_tokens = prompt.template_tokens + brought.template_tokens + overhead;
        let counted = match tokenizers.is_empty() {
            true => Some(texts.iter().map(|text| text.len() as u64).sum()),
            false => nexus_tokens::most(&tokenizers, &texts).await,
        };
        Ok(counted.map(|tokens| tokens.saturating_add(template_tokens)))
    }

    /// Bound on the tokens of texts that become vectors.
    async fn embed_tokens(&self, embed: &Embed, model: &str) -> u64 {
        let model = self.catalog.embedders.get(model);
        nexus_tokens::of_texts(model.and_then(|model| model.tokenizer), &embed.texts).await
    }

    /// Tokens of a text that a run is told; none for a run that does not exist.
    pub(crate) async fn signal_tokens(
        &self,
        delivery: &Delivery,
        run_id: RunId,
        text: &str,
    ) -> Result<Option<u64>, Failure> {
        let tenant = &delivery.envelope.tenant;
        let tokenizers = {
            let id = run_id.into();
            // However old what is cached may be: agent and model are those of the start.
            let run = (self.store).load::<Run>(tenant, &id, ReadHint::UNKNOWN);
            let run = run.await?;
            let Some(info) = run.state.info() else {
                return Ok(None);
            };
            self.catalog.tokenizers(&info.agent.name, &info.model)
        };
        Ok(nexus_tokens::most(&tokenizers, &[text]).await)
    }
}

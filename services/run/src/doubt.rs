//! `run.resolve`: what became of a tool call that is in doubt.

use nexus_bus::{Delivery, Failure};
use nexus_events::command::ResolveTool;
use nexus_events::run;

use crate::RunRole;
use crate::start::actor;

impl RunRole {
    /// Somebody's word. Who says so is who the command's envelope says.
    pub(crate) async fn resolve_tool(
        &self,
        delivery: &Delivery,
        command: &ResolveTool,
    ) -> Result<(), Failure> {
        let tenant = &delivery.envelope.tenant;
        let (mut output, mut tokens) = (None, None);
        if let Some(value) = &command.output {
            let text = value.to_string();
            tokens = self.signal_tokens(delivery, command.run_id, &text).await?;
            output = Some(self.objects.offload(tenant, text).await?);
        }
        let actor = actor(delivery);
        self.control(delivery, command.run_id, |run| {
            run::resolve_tool(run, command, output.clone(), tokens, &actor)
        })
        .await
    }
}

//! `messages`: what was said in a conversation, by people, models and tools. A row is written once.
//! What a run that waits for its turn was started with is said when its turn comes.

use nexus_events::run::{LlmCompleted, PolicyPoint, RunEvent};
use nexus_events::{Body, RunId, Tenant, Timestamp};
use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::fold::{At, col};
use crate::{ids, text};

/// The messages that a batch brings.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    tenant: Tenant,
    id: Uuid,
    run: RunId,
    turn: Option<u32>,
    role: &'static str,
    /// None: what the run was started with.
    content: Option<String>,
    tokens: u64,
    metadata: Map<String, Value>,
    at: Timestamp,
    seq: u64,
    position: u32,
}

impl Messages {
    pub(crate) fn run(&mut self, at: &At<'_>, run: RunId, event: &RunEvent) {
        match event {
            RunEvent::RunDequeued(_) => {
                let id = ids::of_run(run, "input", 0, "");
                self.say(at, id, run, "user", &Body::default()).content = None;
            }
            RunEvent::RunStarted(started)
                if started.input.len_bytes() > 0 && started.queued.is_none() =>
            {
                let id = ids::of_run(run, "input", 0, "");
                self.say(at, id, run, "user", &started.input);
            }
            RunEvent::RunSignalled(signal) => {
                let id = ids::of_run(run, "signal", at.seq, &at.position.to_string());
                let row = self.say(at, id, run, "user", &signal.input);
                row.metadata.insert("signal".into(), true.into());
            }
            RunEvent::LlmCompleted(done) => self.answer(at, run, done),
            RunEvent::ToolCompleted(done) => {
                self.tool(at, run, done.turn, &done.call_id, &done.output);
            }
            RunEvent::ToolFailed(failed) => {
                let told = format!("error: {}", failed.message).into();
                self.tool_error(at, run, failed.turn, &failed.call_id, &told);
            }
            RunEvent::PolicyDecided(decided) => {
                if let (PolicyPoint::ToolCall { turn, call_id }, false) =
                    (&decided.point, decided.allowed)
                {
                    // What the model is told, word for word.
                    let reasons = decided.reasons.join("; ");
                    let told = format!("error: denied by policy: {reasons}").into();
                    self.tool_error(at, run, *turn, call_id, &told);
                }
            }
            _ => {}
        }
    }

    fn answer(&mut self, at: &At<'_>, run: RunId, done: &LlmCompleted) {
        let id = ids::of_run(run, "answer", done.turn.into(), "");
        let row = self.say(at, id, run, "assistant", &done.text);
        row.turn = Some(done.turn);
        row.tokens = done.usage.output_tokens;
        if !done.tool_calls.is_empty() {
            row.metadata
                .insert("tool_calls".into(), text::json(&done.tool_calls));
        }
    }

    fn tool(&mut self, at: &At<'_>, run: RunId, turn: u32, call: &str, told: &Body) -> &mut Row {
        let id = ids::of_run(run, "result", turn.into(), call);
        let row = self.say(at, id, run, "tool", told);
        row.turn = Some(turn);
        row.metadata
            .insert("call_id".into(), text::owned(call).into());
        row
    }

    fn tool_error(&mut self, at: &At<'_>, run: RunId, turn: u32, call: &str, told: &Body) {
        let row = self.tool(at, run, turn, call, told);
        row.metadata.insert("error".into(), true.into());
    }

    fn say(
        &mut self,
        at: &At<'_>,
        id: Uuid,
        run: RunId,
        role: &'static str,
        content: &Body,
    ) -> &mut Row {
        let (content, reference) = text::body(content);
        let mut metadata = Map::new();
        if let Some(reference) = reference {
            metadata.insert("content".into(), reference);
        }
        let row = Row {
            tenant: at.tenant.clone(),
            id,
            run,
            turn: None,
            role,
            content: Some(content.unwrap_or_default()),
            tokens: 0,
            metadata,
            at: at.time,
            seq: at.seq,
            position: at.position,
        };
        self.rows.push(row);
        let last = self.rows.len() - 1;
        &mut self.rows[last]
    }

    /// Runs must be written before: they know the session.
    pub(crate) async fn write(&self, db: &mut PgConnection) -> sqlx::Result<()> {
        let rows = &self.rows;
        if rows.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "INSERT INTO messages (tenant, id, session_id, run_id, turn, role, content, tokens,
                 created_at, metadata, position, seq)
             SELECT u.tenant, u.id, r.session_id, u.run_id, u.turn, u.role,
                 coalesce(u.content, r.input, ''), u.tokens, u.created_at,
                 CASE WHEN u.content IS NULL AND r.input_ref IS NOT NULL
                   THEN jsonb_build_object('content', r.input_ref) ELSE u.metadata END,
                 u.position, u.seq
             FROM UNNEST($1::text[], $2::uuid[], $3::uuid[], $4::int4[], $5::text[], $6::text[],
                 $7::int4[], $8::timestamptz[], $9::jsonb[], $10::int4[], $11::int8[])
               AS u(tenant, id, run_id, turn, role, content, tokens, created_at, metadata,
                 position, seq)
             JOIN agent_runs r ON r.id = u.run_id AND r.tenant IS NOT DISTINCT FROM u.tenant
             WHERE u.content IS NOT NULL OR r.input_ref IS NOT NULL OR length(r.input) > 0
             ON CONFLICT (tenant, id) DO NOTHING",
            col(rows, |row| row.tenant.as_str()) as _,
            &col(rows, |row| row.id),
            &col(rows, |row| row.run.uuid()),
            col(rows, |row| row.turn.map(|turn| text::small(turn.into()))) as _,
            col(rows, |row| row.role) as _,
            col(rows, |row| row.content.as_deref()) as _,
            &col(rows, |row| text::small(row.tokens)),
            &col(rows, |row| text::at(row.at)),
            &col(rows, |row| json!(row.metadata)),
            &col(rows, |row| text::small(row.position.into())),
            &col(rows, |row| text::seq(row.seq)),
        )
        .execute(db)
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nexus_events::run::{RunSignalled, ToolFailed};

    use super::*;
    use crate::fold::testing::{RUN, answered, at, decided, started};

    #[test]
    fn a_conversation_reads_as_the_model_saw_it() {
        let mut messages = Messages::default();
        let mut apply = |seq, event: RunEvent| messages.run(&at(seq), RUN, &event);
        apply(1, started(RUN.own_session()).into());
        apply(2, answered(1, &["a", "b"]).into());
        let point = PolicyPoint::ToolCall {
            turn: 1,
            call_id: "a".into(),
        };
        apply(3, decided(point, false).into());
        let (code, message) = ("bad".into(), "no number".into());
        apply(
            4,
            ToolFailed {
                turn: 1,
                call_id: "b".into(),
                code,
                message,
                duration_ms: 1,
            }
            .into(),
        );
        apply(
            5,
            RunSignalled {
                input: "hurry".into(),
                tokens: None,
            }
            .into(),
        );
        apply(6, answered(2, &[]).into());
        let said: Vec<_> = messages
            .rows
            .iter()
            .map(|row| {
                (
                    row.role,
                    row.content.as_deref().unwrap_or_default(),
                    row.tokens,
                )
            })
            .collect();
        assert_eq!(
            said,
            [
                ("user", "hello", 0),
                ("assistant", "answer 1", 10),
                ("tool", "error: denied by policy: so; it is", 0),
                ("tool", "error: no number", 0),
                ("user", "hurry", 0),
                ("assistant", "answer 2", 10),
            ]
        );
        assert_eq!(messages.rows[3].metadata["call_id"], "b");
        let mut ids: Vec<_> = messages.rows.iter().map(|row| row.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), said.len());
    }

    #[test]
    fn a_stored_text_is_a_reference() {
        let mut messages = Messages::default();
        let input = Body::Stored {
            object: "sha256:1".into(),
            bytes: 70_000,
        };
        messages.run(
            &at(1),
            RUN,
            &RunSignalled {
                input,
                tokens: None,
            }
            .into(),
        );
        let row = &messages.rows[0];
        assert_eq!(
            (row.content.as_deref(), &row.metadata["content"]["bytes"]),
            (Some(""), &json!(70_000))
        );
    }
}

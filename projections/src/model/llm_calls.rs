//! `llm_calls`: the outcome of each model call, with its usage and its route. A row is written once.

use nexus_events::content::Finding;
use nexus_events::model::Usage;
use nexus_events::run::{LlmCompleted, RunEvent};
use nexus_events::{RunId, Tenant, Timestamp};
use serde_json::Value;
use sqlx::PgConnection;

use crate::fold::{At, col};
use crate::text;

/// The model calls that a batch brings.
#[derive(Debug, Default)]
pub(crate) struct LlmCalls {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    tenant: Tenant,
    run: RunId,
    turn: u32,
    status: &'static str,
    usage: Usage,
    cost_usd_micros: u64,
    duration_ms: u64,
    attempts: Option<u32>,
    completed: Option<LlmCompleted>,
    error_code: Option<String>,
    error_message: Option<String>,
    findings: Option<Value>,
    at: Timestamp,
    seq: u64,
}

impl LlmCalls {
    pub(crate) fn run(&mut self, at: &At<'_>, run: RunId, event: &RunEvent) {
        let row = |turn, status, usage, cost_usd_micros, duration_ms| Row {
            tenant: at.tenant.clone(),
            run,
            turn,
            status,
            usage,
            cost_usd_micros,
            duration_ms,
            attempts: None,
            completed: None,
            error_code: None,
            error_message: None,
            findings: None,
            at: at.time,
            seq: at.seq,
        };
        self.rows.push(match event {
            RunEvent::LlmCompleted(done) => Row {
                attempts: Some(done.attempts),
                completed: Some(without_texts(done)),
                findings: found(&done.findings),
                ..row(
                    done.turn,
                    "completed",
                    done.usage,
                    done.cost_usd_micros,
                    done.duration_ms,
                )
            },
            RunEvent::ContextSummarised(done) => Row {
                attempts: Some(done.call.attempts),
                completed: Some(without_texts(&done.call)),
                findings: found(&done.call.findings),
                ..row(
                    done.call.turn,
                    "summarised",
                    done.call.usage,
                    done.call.cost_usd_micros,
                    done.call.duration_ms,
                )
            },
            RunEvent::TextsEmbedded(done) => Row {
                attempts: Some(done.call.attempts),
                completed: Some(without_texts(&done.call)),
                findings: found(&done.call.findings),
                ..row(
                    done.call.turn,
                    "embedded",
                    done.call.usage,
                    done.call.cost_usd_micros,
                    done.call.duration_ms,
                )
            },
            RunEvent::LlmFailed(done) => Row {
                attempts: Some(done.attempts),
                error_code: Some(text::owned(&done.code)),
                error_message: Some(text::owned(&done.message)),
                findings: found(&done.findings),
                ..row(
                    done.turn,
                    "failed",
                    done.usage,
                    done.cost_usd_micros,
                    done.duration_ms,
                )
            },
            RunEvent::LlmAborted(done) => row(
                done.turn,
                "aborted",
                done.usage,
                done.cost_usd_micros,
                done.duration_ms,
            ),
            _ => return,
        });
    }

    pub(crate) async fn write(&self, db: &mut PgConnection) -> sqlx::Result<()> {
        let rows = &self.rows;
        if rows.is_empty() {
            return Ok(());
        }
        let done = |row: &'_ Row, value: fn(&LlmCompleted) -> &str| {
            row.completed.as_ref().map(|done| text::owned(value(done)))
        };
        sqlx::query!(
            "INSERT INTO llm_calls (tenant, run_id, turn, status, provider, model, input_tokens,
                 output_tokens, cached_input_tokens, estimated, cost_usd_micros, duration_ms,
                 time_to_first_token_ms, attempts, finish, response_id, route, error_code,
                 error_message, created_at, seq, findings, cached,
                 cache_write_tokens)
             SELECT * FROM UNNEST($1::text[], $2::uuid[], $3::int4[], $4::text[], $5::text[],
                 $6::text[], $7::int8[], $8::int8[], $9::int8[], $10::bool[], $11::int8[],
                 $12::int8[], $13::int8[], $14::int4[], $15::text[], $16::text[], $17::text[],
                 $18::text[], $19::text[], $20::timestamptz[], $21::int8[],
                 $22::jsonb[], $23::jsonb[], $24::int8[])
             ON CONFLICT (tenant, run_id, turn, seq) DO NOTHING",
            col(rows, |row| row.tenant.as_str()) as _,
            &col(rows, |row| row.run.uuid()),
            &col(rows, |row| text::small(row.turn.into())),
            col(rows, |row| row.status) as _,
            col(rows, |row| done(row, |done| &done.provider)) as _,
            col(rows, |row| done(row, |done| &done.model)) as _,
            &col(rows, |row| text::amount(row.usage.input_tokens)),
            &col(rows, |row| text::amount(row.usage.output_tokens)),
            &col(rows, |row| text::amount(row.usage.cached_input_tokens)),
            &col(rows, |row| row.usage.estimated),
            &col(rows, |row| text::amount(row.cost_usd_micros)),
            &col(rows, |row| text::amount(row.duration_ms)),
            col(rows, |row| row.first_token_ms()) as _,
            col(rows, |row| row
                .attempts
                .map(|attempts| text::small(attempts.into()))) as _,
            col(rows, |row| row.finish()) as _,
            col(rows, |row| row.response_id()) as _,
            col(rows, |row| done(row, |done| &done.route)) as _,
            col(rows, |row| row.error_code.as_deref()) as _,
            col(rows, |row| row.error_message.as_deref()) as _,
            &col(rows, |row| text::at(row.at)),
            &col(rows, |row| text::seq(row.seq)),
            &col(rows, |row| row.findings.clone()) as _,
            &col(rows, Row::cached) as _,
            &col(rows, |row| text::amount(row.usage.cache_write_tokens)),
        )
        .execute(db)
        .await?;
        Ok(())
    }
}

impl Row {
    fn first_token_ms(&self) -> Option<i64> {
        self.completed
            .as_ref()?
            .time_to_first_token_ms
            .map(text::amount)
    }

    fn finish(&self) -> Option<String> {
        let finish = text::json(&self.completed.as_ref()?.finish);
        finish.as_str().map(str::to_owned)
    }

    fn cached(&self) -> Option<Value> {
        Some(text::json(self.completed.as_ref()?.cached.as_ref()?))
    }

    fn response_id(&self) -> Option<String> {
        self.completed
            .as_ref()?
            .response_id
            .as_deref()
            .map(text::owned)
    }
}

fn found(findings: &[Finding]) -> Option<Value> {
    (!findings.is_empty()).then(|| text::json(&findings))
}

/// The answer itself is in `messages`.
fn without_texts(done: &LlmCompleted) -> LlmCompleted {
    LlmCompleted {
        text: String::new().into(),
        tool_calls: Vec::new(),
        provider: done.provider.clone(),
        model: done.model.clone(),
        response_id: done.response_id.clone(),
        route: done.route.clone(),
        routing: None,
        findings: Vec::new(),
        cached: done.cached.clone(),
        ..*done
    }
}

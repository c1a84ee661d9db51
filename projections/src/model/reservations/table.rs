//! The rows of `reservations`.

use nexus_events::ledger::{Amounts, Shortage};
use nexus_events::{ReservationId, RunId};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::PgConnection;

use super::{Held, Key, Status, Waits};
use crate::fold::col;
use crate::query::{timestamp, unsigned, unsigned32};
use crate::text;

fn read<T: DeserializeOwned>(value: Value) -> sqlx::Result<T> {
    serde_json::from_value(value).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

pub(super) async fn load(db: &mut PgConnection) -> sqlx::Result<Vec<(Key, Held)>> {
    let rows = sqlx::query!(
        "SELECT tenant, id, run_id, turn, call_id, model, status, scopes, tokens, cost_usd_micros,
                time_ms, tool_calls, max_output_tokens, since, expires_at, waits_for, line_seq,
                line_position, seq
         FROM reservations"
    )
    .fetch_all(db)
    .await?;
    let held = rows.into_iter().map(|row| {
        let tenant = row
            .tenant
            .parse()
            .map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        let status = (Status::ALL.into_iter())
            .find(|status| status.as_str() == row.status)
            .ok_or_else(|| {
                sqlx::Error::Decode(format!("reservations holds {}", row.status).into())
            })?;
        let waits = match row.waits_for {
            Some(shortage) => Some(Box::new(Waits {
                shortage: read(shortage)?,
                line_seq: row.line_seq.map_or(0, unsigned),
                line_position: row.line_position.map_or(0, unsigned32),
            })),
            None => None,
        };
        let held = Held {
            run: row.run_id.map(RunId::new),
            turn: unsigned32(row.turn),
            call: row.call_id,
            model: row.model,
            status,
            scopes: read(row.scopes)?,
            amounts: Amounts {
                tokens: unsigned(row.tokens),
                cost_usd_micros: unsigned(row.cost_usd_micros),
                time_ms: unsigned(row.time_ms),
                tool_calls: unsigned(row.tool_calls),
                runs: 0,
            },
            max_output_tokens: unsigned(row.max_output_tokens),
            since: timestamp(row.since),
            expires_at: row.expires_at.map(timestamp),
            waits,
            seq: unsigned(row.seq),
        };
        Ok(((tenant, ReservationId::new(row.id)), held))
    });
    held.collect()
}

pub(super) async fn delete(db: &mut PgConnection, gone: &[&Key]) -> sqlx::Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    let gone = gone.iter().copied();
    sqlx::query!(
        "DELETE FROM reservations r USING UNNEST($1::text[], $2::uuid[]) AS u(tenant, id)
         WHERE r.tenant = u.tenant AND r.id = u.id",
        col(gone.clone(), |(tenant, _)| tenant.as_str()) as _,
        &col(gone, |(_, id)| id.uuid()),
    )
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn upsert(db: &mut PgConnection, rows: &[(&Key, &Held)]) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let waits = |held: &Held| held.waits.as_deref().cloned();
    sqlx::query!(
        "INSERT INTO reservations (tenant, id, run_id, turn, call_id, model, status, scopes, tokens,
             cost_usd_micros, time_ms, tool_calls, max_output_tokens, since, expires_at, waits_for,
             line, line_seq, line_position, seq)
         SELECT * FROM UNNEST($1::text[], $2::uuid[], $3::uuid[], $4::int4[], $5::text[],
             $6::text[], $7::text[], $8::jsonb[], $9::int8[], $10::int8[], $11::int8[],
             $12::int8[], $13::int8[], $14::timestamptz[], $15::timestamptz[], $16::jsonb[],
             $17::text[], $18::int8[], $19::int4[], $20::int8[])
         ON CONFLICT (tenant, id) DO UPDATE SET
             status = excluded.status,
             model = excluded.model,
             scopes = excluded.scopes,
             tokens = excluded.tokens,
             cost_usd_micros = excluded.cost_usd_micros,
             time_ms = excluded.time_ms,
             tool_calls = excluded.tool_calls,
             max_output_tokens = excluded.max_output_tokens,
             since = excluded.since,
             expires_at = excluded.expires_at,
             waits_for = excluded.waits_for,
             line = excluded.line,
             line_seq = excluded.line_seq,
             line_position = excluded.line_position,
             seq = excluded.seq
         WHERE reservations.seq < excluded.seq",
        col(rows, |((tenant, _), _)| tenant.as_str()) as _,
        &col(rows, |((_, id), _)| id.uuid()),
        col(rows, |(_, held)| held.run.map(RunId::uuid)) as _,
        &col(rows, |(_, held)| text::small(held.turn.into())),
        col(rows, |(_, held)| held.call.as_deref().map(text::owned)) as _,
        col(rows, |(_, held)| held.model.as_deref().map(text::name)) as _,
        col(rows, |(_, held)| held.status.as_str()) as _,
        &col(rows, |(_, held)| text::json(&held.scopes)),
        &col(rows, |(_, held)| text::amount(held.amounts.tokens)),
        &col(rows, |(_, held)| text::amount(held.amounts.cost_usd_micros)),
        &col(rows, |(_, held)| text::amount(held.amounts.time_ms)),
        &col(rows, |(_, held)| text::amount(held.amounts.tool_calls)),
        &col(rows, |(_, held)| text::amount(held.max_output_tokens)),
        &col(rows, |(_, held)| text::at(held.since)),
        col(rows, |(_, held)| held.expires_at.map(text::at)) as _,
        col(rows, |(_, held)| waits(held)
            .map(|waits| text::json(&waits.shortage))) as _,
        col(rows, |(_, held)| waits(held).map(|waits| {
            let Shortage {
                scope,
                window,
                unit,
                ..
            } = &waits.shortage;
            text::line(scope, *window, *unit)
        })) as _,
        col(rows, |(_, held)| waits(held)
            .map(|waits| text::seq(waits.line_seq))) as _,
        col(rows, |(_, held)| waits(held)
            .map(|waits| text::small(waits.line_position.into()))) as _,
        &col(rows, |(_, held)| text::seq(held.seq)),
    )
    .execute(db)
    .await?;
    Ok(())
}

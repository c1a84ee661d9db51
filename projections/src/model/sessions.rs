//! `sessions`: one row a conversation. Most are opened by their first run, without a commit of
//! their own: then the row is made of the run's.

use nexus_events::command::Budget;
use nexus_events::run::RunEvent;
use nexus_events::session::SessionEvent;
use nexus_events::{RunId, SessionId, Tenant, Timestamp};
use serde_json::{Map, Value};
use sqlx::PgConnection;

use crate::fold::{At, Rows, col};
use crate::text;

/// The sessions that a batch changes.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    rows: Rows<(Tenant, SessionId), Row>,
}

#[derive(Debug)]
struct Row {
    tenant: Tenant,
    id: SessionId,
    opened: Option<Opened>,
    last_run: Option<RunId>,
    closed: bool,
    updated_at: Timestamp,
    seq: u64,
}

#[derive(Debug)]
struct Opened {
    user: String,
    budget: Budget,
    policy_context: Option<Map<String, Value>>,
    metadata: Value,
    at: Timestamp,
    seq: u64,
}

impl Sessions {
    pub(crate) fn run(&mut self, at: &At<'_>, run: RunId, event: &RunEvent) {
        // Any other session heard of the run before: `SessionRunAttached`.
        let RunEvent::RunStarted(started) = event else {
            return;
        };
        if started.session.id != run.own_session() {
            return;
        }
        let row = self.row(at, started.session.id);
        row.last_run = Some(run);
        row.opened.get_or_insert_with(|| Opened {
            user: text::name(&started.user.user),
            budget: started.session.budget.unwrap_or_default(),
            policy_context: started.session.policy_context.clone(),
            metadata: Value::Object(Map::new()),
            at: at.time,
            seq: at.seq,
        });
    }

    pub(crate) fn session(&mut self, at: &At<'_>, id: SessionId, event: &SessionEvent) {
        let row = self.row(at, id);
        match event {
            SessionEvent::SessionOpened(opened) => {
                row.opened.get_or_insert_with(|| Opened {
                    user: text::name(&opened.user.user),
                    budget: opened.budget.unwrap_or_default(),
                    policy_context: opened.policy_context.clone(),
                    metadata: text::json(&opened.metadata),
                    at: at.time,
                    seq: at.seq,
                });
            }
            SessionEvent::SessionRunAttached(attached) => row.last_run = Some(attached.run_id),
            // They move its time and sequence.
            SessionEvent::SessionRunQueued(_) | SessionEvent::SessionRunLeft(_) => {}
            SessionEvent::SessionClosed(_) => row.closed = true,
        }
    }

    fn row(&mut self, at: &At<'_>, id: SessionId) -> &mut Row {
        let row = self.rows.entry((at.tenant.clone(), id), || Row {
            tenant: at.tenant.clone(),
            id,
            opened: None,
            last_run: None,
            closed: false,
            updated_at: at.time,
            seq: at.seq,
        });
        row.seq = at.seq;
        row.updated_at = at.time;
        row
    }

    pub(crate) async fn write(&self, db: &mut PgConnection) -> sqlx::Result<()> {
        let (new, old): (Vec<&Row>, Vec<&Row>) =
            self.rows.all().iter().partition(|row| row.opened.is_some());
        insert(db, &new).await?;
        update(db, &old).await
    }
}

/// Inserts sessions; one that its run opened before takes what is new and keeps how it began.
async fn insert(db: &mut PgConnection, rows: &[&Row]) -> sqlx::Result<()> {
    let opened: Vec<(&Row, &Opened)> = rows
        .iter()
        .filter_map(|row| row.opened.as_ref().map(|opened| (*row, opened)))
        .collect();
    if opened.is_empty() {
        return Ok(());
    }
    let context = |opened: &Opened| opened.policy_context.as_ref().map(text::json);
    sqlx::query!(
        "INSERT INTO sessions (tenant, id, user_id, created_at, updated_at, status, budget,
             policy_context, metadata, first_seq, last_run_id, seq)
         SELECT * FROM UNNEST($1::text[], $2::uuid[], $3::text[], $4::timestamptz[],
             $5::timestamptz[], $6::text[], $7::jsonb[], $8::jsonb[], $9::jsonb[], $10::int8[],
             $11::uuid[], $12::int8[])
         ON CONFLICT (tenant, id) DO UPDATE SET
             updated_at = excluded.updated_at,
             status = CASE WHEN excluded.status = 'closed' THEN 'closed' ELSE sessions.status END,
             last_run_id = coalesce(excluded.last_run_id, sessions.last_run_id),
             seq = excluded.seq
         WHERE sessions.seq < excluded.seq",
        col(&opened, |(row, _)| row.tenant.as_str()) as _,
        &col(&opened, |(row, _)| row.id.uuid()),
        col(&opened, |(_, opened)| opened.user.as_str()) as _,
        &col(&opened, |(_, opened)| text::at(opened.at)),
        &col(&opened, |(row, _)| text::at(row.updated_at)),
        col(&opened, |(row, _)| if row.closed {
            "closed"
        } else {
            "active"
        }) as _,
        &col(&opened, |(_, opened)| text::json(&opened.budget)),
        col(&opened, |(_, opened)| context(opened)) as _,
        &col(&opened, |(_, opened)| opened.metadata.clone()),
        &col(&opened, |(_, opened)| text::seq(opened.seq)),
        col(&opened, |(row, _)| row.last_run.map(RunId::uuid)) as _,
        &col(&opened, |(row, _)| text::seq(row.seq)),
    )
    .execute(db)
    .await?;
    Ok(())
}

async fn update(db: &mut PgConnection, rows: &[&Row]) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let rows = rows.iter().copied();
    sqlx::query!(
        "UPDATE sessions s SET
             updated_at = u.updated_at,
             status = CASE WHEN u.closed THEN 'closed' ELSE s.status END,
             last_run_id = coalesce(u.last_run_id, s.last_run_id),
             seq = u.seq
         FROM UNNEST($1::text[], $2::uuid[], $3::timestamptz[], $4::bool[], $5::uuid[], $6::int8[])
           AS u(tenant, id, updated_at, closed, last_run_id, seq)
         WHERE s.id = u.id AND s.tenant IS NOT DISTINCT FROM u.tenant AND s.seq < u.seq",
        col(rows.clone(), |row| row.tenant.as_str()) as _,
        &col(rows.clone(), |row| row.id.uuid()),
        &col(rows.clone(), |row| text::at(row.updated_at)),
        &col(rows.clone(), |row| row.closed),
        col(rows.clone(), |row| row.last_run.map(RunId::uuid)) as _,
        &col(rows, |row| text::seq(row.seq)),
    )
    .execute(db)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::panic, reason = "a test may fail")]

    use nexus_events::Actor;
    use nexus_events::session::{SessionClosed, SessionOpened, SessionRunAttached};
    use uuid::Uuid;

    use super::*;
    use crate::fold::testing::{RUN, at, started};

    #[test]
    fn a_run_opens_its_own_session_and_a_second_one_does_not_open_it_again() {
        let (own, mut sessions) = (RUN.own_session(), Sessions::default());
        sessions.run(&at(1), RUN, &started(own).into());
        let again = SessionOpened {
            session_id: own,
            user: Actor {
                user: "bob".into(),
                roles: vec![],
                ..Actor::default()
            },
            budget: None,
            policy_context: None,
            on_busy: None,
            metadata: Default::default(),
            opened_by_run: Some(RUN),
        };
        let second = RunId::new(Uuid::from_u128(8));
        let attached = SessionRunAttached {
            run_id: second,
            previous: None,
        };
        sessions.session(&at(5), own, &again.into());
        sessions.session(&at(5), own, &attached.into());
        let [row] = sessions.rows.all() else {
            panic!("{sessions:?}")
        };
        let opened = row
            .opened
            .as_ref()
            .map(|opened| (opened.user.as_str(), opened.seq));
        assert_eq!(
            (opened, row.seq, row.last_run),
            (Some(("ada", 1)), 5, Some(second))
        );
    }

    #[test]
    fn a_run_in_anothers_session_leaves_it_alone_and_closing_is_a_change() {
        let (other, mut sessions) = (SessionId::new(Uuid::from_u128(9)), Sessions::default());
        sessions.run(&at(1), RUN, &started(other).into());
        assert!(sessions.rows.all().is_empty());
        sessions.session(&at(2), other, &SessionClosed {}.into());
        let row = &sessions.rows.all()[0];
        assert!(row.closed && row.opened.is_none());
    }
}

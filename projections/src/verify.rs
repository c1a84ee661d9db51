//! Verify: new tables are filled beside the live ones up to the same sequence, and compared with
//! them. It is the promise that tables are folds of the log, as a command.

use async_nats::jetstream;
use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::Projections;
use crate::fill::{self, FillError, Filler, Progress};
use crate::query::unsigned;

/// Differing rows that are named for each table.
const NAMED: usize = 10;

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Sequence at which the tables were compared.
    pub seq: u64,
    /// Each table.
    pub tables: Vec<TableReport>,
}

impl Verified {
    /// True where every table is what a rebuild gives.
    pub fn is_equal(&self) -> bool {
        self.tables.iter().all(TableReport::is_equal)
    }
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableReport {
    /// Its name.
    pub table: String,
    /// Rows in the live table.
    pub live_rows: u64,
    /// Rows in the rebuilt one.
    pub rebuilt_rows: u64,
    /// Digest over the live rows, whatever their order.
    pub live_digest: String,
    /// Digest over the rebuilt ones.
    pub rebuilt_digest: String,
    /// The first rows that differ, by key.
    pub differences: Vec<Difference>,
}

impl TableReport {
    /// True where both hold the same.
    pub fn is_equal(&self) -> bool {
        self.live_rows == self.rebuilt_rows && self.live_digest == self.rebuilt_digest
    }
}

/// A row that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its primary key.
    pub key: String,
    /// The live row, where there is one.
    pub live: Option<String>,
    /// The rebuilt row, where there is one.
    pub rebuilt: Option<String>,
}

/// Compares the live tables with what the log gives. Nothing is changed, and a projector may be at
/// work all the while.
///
/// # Errors
/// [`FillError`].
pub async fn verify(
    projections: &Projections,
    js: jetstream::Context,
    stream: &str,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Verified, FillError> {
    let (address, live) = (&projections.address, projections.schema());
    let new = format!("{live}_verify");
    let mut db = fill::lock(address, live).await?;
    let mut filler = Filler::start(address, &new, js, stream, progress).await?;
    filler
        .to(projections.applied_seq().await.map_err(database)?)
        .await?;
    // From here on the live tables are seen as they are now.
    let mut snapshot = PgConnection::connect_with(address).await?;
    let mut seen = snapshot
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    let seq = format!("SELECT max(seq) FROM {live}.checkpoints");
    let seq: i64 = sqlx::query_scalar(AssertSqlSafe(seq))
        .fetch_one(&mut *seen)
        .await?;
    filler.to(unsigned(seq)).await?;
    // Rows of before the horizon are compared with nothing.
    fill::forget_alike(&mut db, address, (live, &new)).await?;
    let mut tables = Vec::new();
    for table in fill::tables(&mut db, &new).await? {
        tables.push(compare(&mut seen, live, &mut db, &new, table).await?);
    }
    seen.rollback().await?;
    drop(filler);
    fill::drop_schema(&mut db, &new).await?;
    Ok(Verified {
        seq: unsigned(seq),
        tables,
    })
}

fn database(error: crate::query::QueryError) -> FillError {
    match error {
        crate::query::QueryError::Database(error) => FillError::Database(error),
        other => FillError::Database(sqlx::Error::Protocol(other.to_string())),
    }
}

async fn compare(
    a: &mut PgConnection,
    live: &str,
    b: &mut PgConnection,
    rebuilt: &str,
    table: String,
) -> sqlx::Result<TableReport> {
    let (live_rows, live_digest) = digest(a, live, &table).await?;
    let (rebuilt_rows, rebuilt_digest) = digest(b, rebuilt, &table).await?;
    let differences = if (live_rows, &live_digest) == (rebuilt_rows, &rebuilt_digest) {
        Vec::new()
    } else {
        let key = key(b, rebuilt, &table).await?;
        differences(
            (a, rows(live, &table, &key)),
            (b, rows(rebuilt, &table, &key)),
        )
        .await?
    };
    Ok(TableReport {
        table,
        live_rows,
        rebuilt_rows,
        live_digest,
        rebuilt_digest,
        differences,
    })
}

/// Number of rows, and a sum over their hashes: it needs no order, and so no sorting of all rows.
async fn digest(db: &mut PgConnection, schema: &str, table: &str) -> sqlx::Result<(u64, String)> {
    let digest = format!(
        "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text
         FROM {schema}.{table} t"
    );
    let row = sqlx::query(AssertSqlSafe(digest)).fetch_one(db).await?;
    Ok((unsigned(row.try_get(0)?), row.try_get(1)?))
}

/// Columns of the primary key.
async fn key(db: &mut PgConnection, schema: &str, table: &str) -> sqlx::Result<String> {
    let row = sqlx::query!(
        r#"SELECT string_agg(a.attname, ', ' ORDER BY array_position(i.indkey, a.attnum)) AS "key!"
           FROM pg_index i
           JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
           WHERE i.indisprimary AND i.indrelid = format('%I.%I', $1::text, $2::text)::regclass"#,
        schema,
        table,
    )
    .fetch_one(db)
    .await?;
    Ok(row.key)
}

fn rows(schema: &str, table: &str, key: &str) -> String {
    format!(
        "SELECT ROW({key})::text AS key, t::text AS row FROM {schema}.{table} t
         ORDER BY ROW({key})::text COLLATE \"C\""
    )
}

/// Reads both tables in the order of their keys, side by side.
async fn differences(
    (a, a_rows): (&mut PgConnection, String),
    (b, b_rows): (&mut PgConnection, String),
) -> sqlx::Result<Vec<Difference>> {
    let mut live = sqlx::query_as::<_, (String, String)>(AssertSqlSafe(a_rows)).fetch(a);
    let mut rebuilt = sqlx::query_as::<_, (String, String)>(AssertSqlSafe(b_rows)).fetch(b);
    let (mut left, mut right) = (live.try_next().await?, rebuilt.try_next().await?);
    let mut found = Vec::new();
    while found.len() < NAMED {
        let (only_left, only_right) = match (&left, &right) {
            (None, None) => break,
            (Some(_), None) => (true, false),
            (None, Some(_)) => (false, true),
            (Some((a, _)), Some((b, _))) => (a < b, b < a),
        };
        let (a, b) = match (only_left, only_right) {
            (true, _) => (std::mem::replace(&mut left, live.try_next().await?), None),
            (_, true) => (
                None,
                std::mem::replace(&mut right, rebuilt.try_next().await?),
            ),
            _ => (
                std::mem::replace(&mut left, live.try_next().await?),
                std::mem::replace(&mut right, rebuilt.try_next().await?),
            ),
        };
        let key = a
            .as_ref()
            .or(b.as_ref())
            .map(|(key, _)| key.clone())
            .unwrap_or_default();
        let (live, rebuilt) = (a.map(|(_, row)| row), b.map(|(_, row)| row));
        if live != rebuilt {
            found.push(Difference { key, live, rebuilt });
        }
    }
    Ok(found)
}

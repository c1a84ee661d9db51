//! Partitions of the tables that are only ever appended to, by stretches of the log. Stretches and not
//! months: a sequence is in the key of each row, it orders rows as the log does, and a rebuild gives
//! the same partitions; a month would need the time in every key.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::query::unsigned;
use crate::{ids, text};

/// Commits that share a partition: some gigabytes of audit entries. As in the migrations.
const STRETCH: u64 = 4_194_304;
/// The tables, and whether a row's place is in its `id` (else it is `seq`).
const PARENTS: [(&str, bool); 2] = [("audit_logs", true), ("llm_calls", false)];

/// The first sequence that has no partition.
pub(crate) async fn edge(db: &mut PgConnection) -> sqlx::Result<u64> {
    let edge = "SELECT min(edge) FROM (
            SELECT max(to_seq) AS edge FROM log_partitions GROUP BY parent
        ) e";
    let edge: Option<i64> = sqlx::query_scalar(edge).fetch_one(db).await?;
    Ok(edge.map_or(0, unsigned))
}

/// Makes partitions until `seq` has one; gives the new edge. A new table is made beside the others and
/// attached, which stops nobody who reads or writes them.
pub(crate) async fn reach(db: &mut PgConnection, seq: u64) -> sqlx::Result<u64> {
    loop {
        let from = edge(db).await?;
        if seq < from {
            return Ok(from);
        }
        let to = from + STRETCH;
        let mut tx = db.begin().await?;
        for (parent, by_id) in PARENTS {
            let relation = format!("{parent}_{from}");
            let (low, high) = match by_id {
                true => (
                    format!("'{}'", ids::of_position(from, 0)),
                    format!("'{}'", ids::of_position(to, 0)),
                ),
                false => (from.to_string(), to.to_string()),
            };
            let make = format!(
                "CREATE TABLE {relation} (LIKE {parent} INCLUDING ALL);
                 ALTER TABLE {parent} ATTACH PARTITION {relation}
                     FOR VALUES FROM ({low}) TO ({high})"
            );
            sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut *tx).await?;
            sqlx::query("INSERT INTO log_partitions VALUES ($1, $2, $3, $4)")
                .bind(parent)
                .bind(&relation)
                .bind(text::seq(from))
                .bind(text::seq(to))
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
    }
}

/// Where the stretch begins that a sequence is in: everything before it can be dropped whole.
pub(crate) async fn whole_before(
    db: &mut PgConnection,
    parent: &str,
    seq: u64,
) -> sqlx::Result<u64> {
    let whole =
        "SELECT coalesce(max(to_seq), 0) FROM log_partitions WHERE parent = $1 AND to_seq <= $2";
    let whole: i64 = sqlx::query_scalar(whole)
        .bind(parent)
        .bind(text::seq(seq))
        .fetch_one(db)
        .await?;
    Ok(unsigned(whole))
}

/// Drops the partitions of a table that end at or before a sequence; says how many. Each is detached
/// first, which waits for whoever reads it and stops nobody else.
pub(crate) async fn drop_before(
    db: &mut PgConnection,
    parent: &str,
    seq: u64,
) -> sqlx::Result<u64> {
    let old = "SELECT p.relation, i.inhdetachpending
         FROM log_partitions p
         LEFT JOIN pg_inherits i ON i.inhrelid = to_regclass(p.relation)
         WHERE p.parent = $1 AND p.to_seq <= $2 ORDER BY p.from_seq";
    let old: Vec<(String, Option<bool>)> = sqlx::query_as(old)
        .bind(parent)
        .bind(text::seq(seq))
        .fetch_all(&mut *db)
        .await?;
    for (relation, pending) in &old {
        // None: whoever was at it before us came this far.
        let how = match pending {
            Some(false) => Some("CONCURRENTLY"),
            Some(true) => Some("FINALIZE"),
            None => None,
        };
        if let Some(how) = how {
            let detach = format!("ALTER TABLE {parent} DETACH PARTITION {relation} {how}");
            sqlx::raw_sql(AssertSqlSafe(detach))
                .execute(&mut *db)
                .await?;
        }
        let mut tx = db.begin().await?;
        let gone = format!("DROP TABLE IF EXISTS {relation}");
        sqlx::raw_sql(AssertSqlSafe(gone)).execute(&mut *tx).await?;
        sqlx::query("DELETE FROM log_partitions WHERE relation = $1")
            .bind(relation)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
    }
    Ok(old.len() as u64)
}

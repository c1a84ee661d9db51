//! The connection to the read models. One pool for queries; whoever writes opens its own, so that a
//! burst of readers never holds the projector up.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use tracing::info;

use crate::applied::Applied;
use crate::lookups::Lookups;

/// How the read models are reached.
#[derive(Clone, Debug)]
pub struct ProjectionsOptions {
    /// Schema of the tables: lower case letters, digits and `_`, at most 40.
    pub schema: String,
    /// Connections for queries.
    pub max_connections: u32,
    /// How long a query waits for a connection.
    pub acquire_timeout: Duration,
    /// How long a query may take.
    pub statement_timeout: Duration,
}

impl Default for ProjectionsOptions {
    fn default() -> Self {
        Self {
            schema: "nexus".to_owned(),
            max_connections: 16,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
        }
    }
}

/// Read models that cannot be reached or brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// The address cannot be used.
    #[error("the database's address is not usable: postgres://user:password@host:port/database")]
    Address(#[source] sqlx::Error),
    /// The schema's name cannot be used.
    #[error(
        "schema {0:?} must have 1 to 40 lower case letters, digits and _, and begin with a letter"
    )]
    Schema(String),
    /// The database is away or refuses.
    #[error("the database is away or refuses")]
    Database(#[from] sqlx::Error),
    /// The tables are not what this program knows.
    #[error("the tables cannot be brought up to date")]
    Migrate(#[from] MigrateError),
}

impl ProjectionError {
    /// True where the database is away, or says that it cannot now: trying again may do.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Address(_) | Self::Schema(_) => false,
            Self::Database(error) => may_pass(error),
            Self::Migrate(
                MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _),
            ) => may_pass(error),
            Self::Migrate(_) => false,
        }
    }
}

fn may_pass(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed => true,
        // Of the connection, of its resources, of an operator who stops it, of its system.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            let class = code.get(..2).unwrap_or_default();
            ["08", "53", "57", "58"].contains(&class)
        }),
        _ => false,
    }
}

/// The read models. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Projections {
    pub(crate) read: PgPool,
    pub(crate) lookups: Lookups,
    pub(crate) applied: Arc<Applied>,
    pub(crate) address: PgConnectOptions,
    pub(crate) options: ProjectionsOptions,
}

impl Projections {
    /// Connects to a database that is there. Tables are made by [`Self::migrate`].
    ///
    /// # Errors
    /// [`ProjectionError`]: an address or schema that cannot be used, or the database is away.
    pub async fn connect(
        database_url: &str,
        options: ProjectionsOptions,
    ) -> Result<Self, ProjectionError> {
        let this = Self::open(database_url, options)?;
        drop(this.read.acquire().await?);
        Ok(this)
    }

    /// The same without trying: connections are made when they are needed, so that a process can
    /// start and answer `/readyz` while the database is away.
    ///
    /// # Errors
    /// [`ProjectionError`]: an address or schema that cannot be used.
    pub fn open(database_url: &str, options: ProjectionsOptions) -> Result<Self, ProjectionError> {
        check_schema(&options.schema)?;
        let address = PgConnectOptions::from_str(database_url).map_err(ProjectionError::Address)?;
        let timeout = options.statement_timeout.as_millis().to_string();
        let reading =
            in_schema(&address, &options.schema).options([("statement_timeout", timeout.as_str())]);
        let lookups = Lookups::new(reading.clone(), options.acquire_timeout);
        let reading = reading
            .application_name("nexus-queries")
            // Lists have filters that may be absent: a plan for all of them fits none.
            .options([("plan_cache_mode", "force_custom_plan")]);
        let read = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .acquire_timeout(options.acquire_timeout)
            // A round trip for each query otherwise; a dead connection is an error once.
            .test_before_acquire(false)
            .connect_lazy_with(reading);
        let applied = Arc::new(Applied::new(read.clone(), &options.schema));
        Ok(Self {
            read,
            lookups,
            applied,
            address,
            options,
        })
    }

    /// Makes the schema and brings its tables up to date. Several processes may do so at once.
    ///
    /// # Errors
    /// [`ProjectionError`]: the database is away, or its tables were changed by hand or are newer.
    pub async fn migrate(&self) -> Result<(), ProjectionError> {
        migrate(&self.address, &self.options.schema).await
    }

    /// The pool of queries, for `/readyz` and metrics.
    pub fn pool(&self) -> &PgPool {
        &self.read
    }

    /// Schema of the tables.
    pub fn schema(&self) -> &str {
        &self.options.schema
    }

    /// Ends all connections of queries.
    pub async fn close(&self) {
        self.lookups.close().await;
        self.read.close().await;
    }
}

/// Names are unqualified everywhere; this says where they are.
pub(crate) fn in_schema(address: &PgConnectOptions, schema: &str) -> PgConnectOptions {
    address.clone().options([("search_path", schema)])
}

/// Makes a schema and brings its tables up to date.
pub(crate) async fn migrate(
    address: &PgConnectOptions,
    schema: &str,
) -> Result<(), ProjectionError> {
    check_schema(schema)?;
    let mut db = PgConnection::connect_with(&in_schema(address, schema)).await?;
    lock(&mut db).await?;
    // Checked above: nothing but letters, digits and `_`.
    let create = format!("CREATE SCHEMA IF NOT EXISTS {schema}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(create))
        .execute(&mut db)
        .await?;
    let before = applied_migrations(&mut db).await;
    let migrator = Migrator {
        // Migrations only add, so that an older program works with the tables of a newer one.
        ignore_missing: true,
        locking: false,
        ..sqlx::migrate!("../migrations")
    };
    migrator.run_direct(None, &mut db, false).await?;
    let after = applied_migrations(&mut db).await;
    if after > before {
        info!(
            schema,
            from = before,
            to = after,
            "the tables were brought up to date"
        );
    }
    // The lock goes with the connection.
    db.close().await?;
    Ok(())
}

/// One process migrates at a time. Asked for again and again rather than waited for: a statement
/// that waits keeps its snapshot, and `CREATE INDEX CONCURRENTLY` would wait for that in turn.
async fn lock(db: &mut PgConnection) -> sqlx::Result<()> {
    loop {
        let row = sqlx::query!(
            r#"SELECT pg_try_advisory_lock(hashtext('nexus'), hashtext('migrate')) AS "mine!""#
        )
        .fetch_one(&mut *db)
        .await?;
        if row.mine {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn applied_migrations(db: &mut PgConnection) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations")
        .fetch_one(db)
        .await
        .unwrap_or(0)
}

fn check_schema(schema: &str) -> Result<(), ProjectionError> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let begins = schema
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_lowercase());
    if begins && schema.len() <= 40 && schema.bytes().all(fits) {
        Ok(())
    } else {
        Err(ProjectionError::Schema(schema.chars().take(64).collect()))
    }
}

//! A real PostgreSQL: started, asked, stopped, killed and started again.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Stdio;

use nexus_devstack::testing::{TestDir, TestStack, fresh_database, shared_postgres};
use nexus_devstack::{Cache, DevstackError, Postgres, PostgresOptions, Progress, find_postgres};
use tokio::process::Command;

/// What `psql` prints for a statement.
async fn sql(url: &str, statement: &str) -> Result<String, String> {
    let programs = find_postgres(&Cache::discover().unwrap(), &Progress::log(), None)
        .await
        .unwrap();
    let output = Command::new(programs.bin_dir.join("psql"))
        .args(["-X", "-A", "-t", "-q", "-c", statement, url])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

async fn start(options: PostgresOptions) -> Result<Postgres, DevstackError> {
    Postgres::start(&Cache::discover().unwrap(), &Progress::log(), options).await
}

#[tokio::test]
async fn data_outlive_a_stop_and_a_kill() {
    let dir = TestDir::create().unwrap();
    let mut postgres = start(PostgresOptions::new(dir.path().join("postgres")))
        .await
        .unwrap();
    let url = postgres.create_database("nexus").await.unwrap();
    let again = postgres.create_database("nexus").await.unwrap();
    assert_eq!(url, again, "creating it twice is fine");
    sql(&url, "CREATE TABLE t AS SELECT 42 AS n").await.unwrap();

    let settings = "SELECT current_setting('synchronous_commit'), current_setting('fsync'), \
                    current_setting('server_encoding')";
    assert_eq!(sql(&url, settings).await.unwrap(), "on|on|UTF8");

    postgres.stop().await;
    assert!(!postgres.is_running());
    sql(&url, "SELECT 1").await.unwrap_err();
    postgres.restart().await.unwrap();
    assert_eq!(sql(&url, "SELECT n FROM t").await.unwrap(), "42");

    sql(&url, "UPDATE t SET n = 43").await.unwrap();
    postgres.kill().await;
    assert!(postgres.exited().await.contains("signal: 9"));
    postgres.restart().await.unwrap();
    assert_eq!(sql(&url, "SELECT n FROM t").await.unwrap(), "43");
}

#[tokio::test]
async fn nobody_gets_in_without_the_password() {
    let postgres = shared_postgres().await.unwrap();
    let url = postgres.url("postgres");
    let (before, after) = url.split_once('@').unwrap();
    let (user, _) = before.rsplit_once(':').unwrap();
    let error = sql(&format!("{user}:wrong@{after}"), "SELECT 1")
        .await
        .unwrap_err();
    assert!(error.contains("password authentication failed"), "{error}");
}

#[tokio::test]
async fn every_test_has_a_database_of_its_own() {
    let (one, two) = tokio::join!(fresh_database(), fresh_database());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one, two);
    sql(&one, "CREATE TABLE mine ()").await.unwrap();
    sql(&two, "SELECT FROM mine").await.unwrap_err();
}

/// As after `kill -9` of a `nexus up` whose servers went on.
#[tokio::test]
async fn a_server_that_was_left_running_is_replaced() {
    let dir = TestDir::create().unwrap();
    let options = PostgresOptions::disposable(dir.path().join("postgres"));
    let left = start(options.clone()).await.unwrap();
    sql(&left.url("postgres"), "CREATE TABLE t ()")
        .await
        .unwrap();
    let next = start(options).await.unwrap();
    assert!(!left.is_running());
    sql(&next.url("postgres"), "SELECT FROM t").await.unwrap();
}

#[tokio::test]
async fn a_pid_file_that_names_somebody_else_is_no_obstacle() {
    let dir = TestDir::create().unwrap();
    let mut postgres = start(PostgresOptions::disposable(dir.path().join("postgres")))
        .await
        .unwrap();
    postgres.kill().await;
    let file = dir.path().join("postgres/data/postmaster.pid");
    let text = std::fs::read_to_string(&file).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    std::fs::write(&file, format!("{}\n{rest}", std::process::id())).unwrap();
    postgres.restart().await.unwrap();
    sql(&postgres.url("postgres"), "SELECT 1").await.unwrap();
}

#[tokio::test]
async fn data_of_another_version_are_not_touched() {
    let dir = TestDir::create().unwrap();
    let data = dir.path().join("postgres/data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("PG_VERSION"), "9\n").unwrap();
    let error = start(PostgresOptions::new(dir.path().join("postgres")))
        .await
        .unwrap_err();
    assert!(
        matches!(error, DevstackError::WrongDataVersion { made_by: 9, .. }),
        "{error}"
    );
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 1);
}

#[tokio::test]
async fn a_stack_is_gone_after_its_test() {
    let stack = TestStack::start().await.unwrap();
    let database = stack.fresh_database().await.unwrap();
    sql(&database, "SELECT 1").await.unwrap();
    let dir = stack.dir().to_path_buf();
    let pids = [stack.nats.pid(), stack.postgres.pid()];
    drop(stack);
    assert!(!dir.exists());
    for pid in pids {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let dir = dir.to_string_lossy();
        assert!(
            !String::from_utf8_lossy(&command).contains(&*dir),
            "{pid} still runs"
        );
    }
}

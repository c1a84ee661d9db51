//! Each measurement that `nexus bench` makes, with sizes so small that only its working is tried, and
//! what it writes down.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may fail")]

mod support;

use std::process::Stdio;
use std::time::Duration;

use nexus_devstack::testing::TestDir;
use serde_json::Value;
use tokio::process::Command;

use support::Platform;

const LIMIT: Duration = Duration::from_secs(300);

/// The part that a measurement prints, which also stands in the files that it writes.
async fn part(arguments: &[&str]) -> Value {
    let dir = TestDir::create().unwrap();
    let run = Command::new(Platform::binary())
        .arg("bench")
        .args(arguments)
        .args(["--json", "--out"])
        .arg(dir.path())
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LIMIT, run).await;
    let output = output.expect("it ends in time").expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    let kept = std::fs::read(dir.path().join("report.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&kept).unwrap(), report);
    let page = std::fs::read_to_string(dir.path().join("report.html")).unwrap();
    assert!(page.contains("</html>") && !page.contains("NaN"));
    assert_eq!(report["parts"].as_array().unwrap().len(), 1);
    report["parts"][0].clone()
}

/// The figures whose names begin so.
fn figures(part: &Value, name: &str) -> Vec<f64> {
    let figures = part["figures"].as_array().unwrap().iter();
    let found = figures.filter(|figure| figure["name"].as_str().unwrap().starts_with(name));
    let values: Vec<f64> = found
        .map(|figure| figure["value"].as_f64().unwrap())
        .collect();
    assert!(!values.is_empty(), "{name}: {part}");
    values
}

#[tokio::test]
async fn whole_runs_are_measured() {
    let arguments = [
        "runs",
        "--runs=5",
        "--seconds=1",
        "--warm-up=0",
        "--concurrency=4",
    ];
    let part = part(&arguments).await;
    assert!(figures(&part, "runs a second")[0] > 0.0, "{part}");
    assert!(figures(&part, "event log a run")[0] > 1_000.0, "{part}");
    assert!(
        figures(&part, "read by nats-server a run")[0] > 1_000.0,
        "{part}"
    );
    assert!(figures(&part, "CPU a run: nats-server")[0] > 0.0, "{part}");
}

#[tokio::test]
async fn a_gateway_is_measured() {
    let arguments = [
        "gateway",
        "--seconds=1",
        "--warm-up=0",
        "--connections=4",
        "--idle=20",
        "--listeners=3",
    ];
    let part = part(&arguments).await;
    for name in [
        "commands accepted, a second",
        "queries of one run, a second",
    ] {
        assert!(figures(&part, name)[0] > 0.0, "{part}");
    }
    assert!(
        figures(&part, "events a second to 3 listeners")[0] > 0.0,
        "{part}"
    );
    // What was heard late was heard: the times are of events that came.
    assert!(
        figures(&part, "an event to 3 listeners")
            .iter()
            .all(|ms| *ms >= 0.0)
    );
}

#[tokio::test]
async fn projection_and_rebuild_are_measured() {
    let (applied, rebuilt) = tokio::join!(
        part(&["projections", "--events=2000", "--seconds=1"]),
        part(&["rebuild", "--events=2000"]),
    );
    assert!(
        figures(&applied, "events applied in a second")[0] > 0.0,
        "{applied}"
    );
    assert!(figures(&applied, "visible after").len() == 2, "{applied}");
    // Of the short past and of at least one copy.
    assert!(figures(&rebuilt, "events")[1] >= 2_000.0, "{rebuilt}");
}

#[tokio::test]
async fn scaling_is_measured() {
    let arguments = [
        "scaling",
        "--seconds=1",
        "--sessions=20",
        "--runs=40",
        "--turns=20",
        "--parked=10",
    ];
    let part = part(&arguments).await;
    assert_eq!(part["charts"].as_array().unwrap().len(), 8, "{part}");
    for thing in ["commits", "commands"] {
        let ratio = figures(&part, &format!("{thing}: turn 20 by turn 10"))[0];
        assert!((0.8..=1.25).contains(&ratio), "{thing}: {ratio}");
    }
    assert!(
        figures(&part, "ready again, 10 runs parked")[0] > 0.0,
        "{part}"
    );
}

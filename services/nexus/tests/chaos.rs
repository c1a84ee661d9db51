//! A short run of chaos: the platform keeps its promises while it is broken, nothing is left behind, and
//! a plan follows from its seed.

#![expect(clippy::unwrap_used, reason = "tests may fail")]

use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn chaos(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nexus"))
        .arg("chaos")
        .args(arguments)
        .env_remove("NEXUS_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn promises_are_kept_while_roles_and_servers_die_and_connections_break() {
    let arguments = [
        "--seed",
        "7",
        "--runs",
        "14",
        "--duration",
        "12s",
        "--faults",
        "kill,cut,delay,clock,deploy",
        "--json",
    ];
    let output = chaos(&arguments);
    let (told, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{told}{said}");
    let report: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(report["kept"], true, "{report:#}");
    assert!(report["faults"].as_u64().unwrap() > 4, "{report:#}");
    let checked = |what: &str| {
        let rows = report["checks"].as_array().unwrap();
        let row = rows.iter().find(|row| row["what"] == what).unwrap();
        row["checked"].as_u64().unwrap()
    };
    assert!(checked("accepted runs ended") >= 10, "{report:#}");
    assert!(checked("effects at the witness") > 0, "{report:#}");
    assert_eq!(report["data"], Value::Null, "nothing is kept: {report:#}");
}

#[test]
fn a_seed_is_a_plan() {
    let plan = |seed: &str| {
        let output = chaos(&["--seed", seed, "--plan"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    assert_eq!(plan("3"), plan("3"));
    assert_ne!(plan("3"), plan("4"));
    assert!(plan("3").contains("kill"), "{}", plan("3"));
}

#[test]
fn a_kind_that_does_not_exist_is_named() {
    let output = chaos(&["--faults", "flood"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("there is kill, stop"));
}

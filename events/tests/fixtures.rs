//! Everything that was ever written can be read: one file a type and version, kept for ever, and
//! further ones as `<type>+<what is in it>`. A type without a file fails here, and so does a file
//! without a type.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nexus_events::access::AccessEvent;
use nexus_events::keys::KeyEvent;
use nexus_events::ledger::LedgerEvent;
use nexus_events::policy::PolicyEvent;
use nexus_events::run::RunEvent;
use nexus_events::session::SessionEvent;
use nexus_events::tool::registry::ToolsEvent;
use nexus_events::webhook::WebhookEvent;
use nexus_events::{Command, Commit, Event};
use serde_json::{Value, value::to_raw_value};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

/// The files of a folder: their names without `.json`, and what is in them.
fn files(name: &str) -> Vec<(String, Value)> {
    let mut files = vec![];
    for entry in std::fs::read_dir(folder(name)).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let body = std::fs::read(&path).unwrap();
            let value = serde_json::from_slice(&body).unwrap_or_else(|e| panic!("{path:?}: {e}"));
            files.push((
                path.file_stem().unwrap().to_str().unwrap().to_owned(),
                value,
            ));
        }
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

/// The type that a file is of.
fn type_of(name: &str) -> &str {
    name.split_once('+')
        .map_or(name, |(type_name, _)| type_name)
}

/// Reads an event, and writes it again: type and data as they are written today.
fn through<E: Event>(type_name: &str, data: &Value) -> (String, Value) {
    let event = E::decode(type_name, &to_raw_value(data).unwrap())
        .unwrap_or_else(|error| panic!("{type_name}: {error:?}"));
    let mut written = serde_json::to_value(&event).unwrap();
    assert_eq!(written["type"], event.type_name());
    (event.type_name().to_owned(), written["data"].take())
}

fn event_through(type_name: &str, data: &Value) -> (String, Value) {
    match type_name.split('.').nth(1) {
        Some("run") => through::<RunEvent>(type_name, data),
        Some("session") => through::<SessionEvent>(type_name, data),
        Some("ledger") => through::<LedgerEvent>(type_name, data),
        Some("policy") => through::<PolicyEvent>(type_name, data),
        Some("key") => through::<KeyEvent>(type_name, data),
        Some("access") => through::<AccessEvent>(type_name, data),
        Some("tools") => through::<ToolsEvent>(type_name, data),
        Some("webhook") => through::<WebhookEvent>(type_name, data),
        other => panic!("{type_name} is of no aggregate: {other:?}"),
    }
}

fn event_types() -> BTreeSet<String> {
    let all = [
        RunEvent::type_names(),
        SessionEvent::type_names(),
        LedgerEvent::type_names(),
        PolicyEvent::type_names(),
        AccessEvent::type_names(),
        KeyEvent::type_names(),
        ToolsEvent::type_names(),
        WebhookEvent::type_names(),
    ];
    all.concat().into_iter().map(str::to_owned).collect()
}

#[test]
fn every_event_ever_written_is_read_and_todays_are_written_the_same() {
    let today = event_types();
    let mut seen = BTreeSet::new();
    for (name, data) in files("") {
        let file_type = type_of(&name);
        let (type_name, written) = event_through(file_type, &data);
        assert!(today.contains(&type_name), "{name} is read as {type_name}");
        if today.contains(file_type) {
            assert_eq!((type_name.as_str(), &written), (file_type, &data), "{name}");
        }
        seen.insert(name);
    }
    let missing: Vec<_> = today.difference(&seen).collect();
    assert!(
        missing.is_empty(),
        "add fixtures/<type>.json for {missing:?}"
    );
}

#[test]
fn every_command_is_read_and_written_the_same() {
    let files = files("commands");
    let catalogue = Command::catalogue();
    let mut seen = 0;
    for doc in &catalogue {
        let named = |(name, _): &&(String, Value)| type_of(name) == doc.type_name;
        let of_type: Vec<_> = files.iter().filter(named).collect();
        let first = of_type.iter().any(|(name, _)| name == doc.type_name);
        assert!(first, "add fixtures/commands/{}.json", doc.type_name);
        for (name, body) in of_type {
            seen += 1;
            let bytes = serde_json::to_vec(body).unwrap();
            for type_name in [None, Some(doc.type_name)] {
                let command = Command::decode(doc.role, doc.verb, type_name, &bytes);
                let command = command.unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(
                    (command.role(), command.verb(), command.type_name()),
                    (doc.role, doc.verb, doc.type_name)
                );
                let written: Value = serde_json::from_slice(&command.encode().unwrap()).unwrap();
                assert_eq!(written, *body, "{name}");
            }
        }
    }
    assert_eq!(files.len(), seen, "a fixture has no command");
}

#[test]
fn what_does_not_fit_a_command_is_an_error_that_says_where() {
    let decode = |role, verb, type_name, body: &str| {
        Command::decode(role, verb, type_name, body.as_bytes())
            .unwrap_err()
            .to_string()
    };
    assert!(decode("run", "fly", None, "{}").contains("no command run.fly"));
    assert!(
        decode("run", "start", Some("nexus.run.start.v9"), "{}").contains("nexus.run.start.v1")
    );
    assert!(decode("run", "start", None, "{\"input\":1}").contains("column 10"));
    let unknown = decode("run", "start", None, "{\"input\":\"a\",\"inptu\":\"b\"}");
    assert!(unknown.contains("unknown field `inptu`"), "{unknown}");
    assert!(decode("run", "cancel", None, "not json").contains("nexus.run.cancel.v1"));
}

fn commit_through<E: Event>(file: &str, subject: &str, source: &str) -> Commit<E> {
    let files = files("commits");
    let (_, batch) = files.iter().find(|(name, _)| name == file).unwrap();
    let commit = Commit::<E>::decode(&serde_json::to_vec(batch).unwrap()).unwrap();
    let written: Value = serde_json::from_slice(&commit.encode(source, subject).unwrap()).unwrap();
    assert_eq!(written, *batch, "{file}");
    commit
}

#[test]
fn a_whole_commit_is_read_and_written_the_same() {
    let run = "nexus.acme.evt.run.01981f3a-5c2e-7d10-9b4f-2a6c8e0d1f35";
    let commit = commit_through::<RunEvent>("run", run, "nexus/llm");
    assert_eq!(commit.id, "0c9d7b52-6f1e-8a33-94d0-5e2b7c8f1a60/run");
    assert_eq!(
        commit.causation.as_str(),
        "0c9d7b52-6f1e-8a33-94d0-5e2b7c8f1a60"
    );
    assert_eq!(
        commit.actor.as_ref().map(|actor| actor.user.as_str()),
        Some("ada@example.com")
    );
    assert!(commit.correlation.is_some() && commit.traceparent.is_some());
    let places: Vec<_> = commit.recorded(7).map(|recorded| recorded.at).collect();
    assert_eq!(
        places
            .iter()
            .map(|at| (at.seq, at.index))
            .collect::<Vec<_>>(),
        [(7, 0), (7, 1)]
    );
    assert!(places.iter().all(|at| at.time == commit.time));

    let commit =
        commit_through::<LedgerEvent>("ledger", "nexus.acme.evt.ledger.main", "nexus/budget");
    assert_eq!(
        (commit.events.len(), commit.correlation, commit.actor),
        (3, None, None)
    );
}

#[test]
fn attributes_that_others_add_to_a_commit_are_passed_over() {
    let files = files("commits");
    let (_, mut batch) = files
        .into_iter()
        .find(|(name, _)| name == "ledger")
        .unwrap();
    for event in batch.as_array_mut().unwrap() {
        event["partitionkey"] = "x".into();
        event["data"]["added_later"] = 1.into();
    }
    let bytes = serde_json::to_vec(&batch).unwrap();
    assert_eq!(
        Commit::<LedgerEvent>::decode(&bytes).unwrap().events.len(),
        3
    );
}

#[test]
fn what_is_no_commit_is_refused() {
    let decode = |body: &str| {
        Commit::<RunEvent>::decode(body.as_bytes())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(decode("[]"), "commit holds no event");
    assert_eq!(decode("{}"), "commit cannot be read");
    let with = |type_name: &str, data: &str| {
        format!(
            r#"[{{"id":"c/run/0","time":"2026-11-22T13:16:17Z","causationid":"c","type":"{type_name}","data":{data}}}]"#
        )
    };
    assert!(decode(&with("nexus.run.flew.v1", "{}")).contains("nexus.run.flew.v1"));
    assert!(decode(&with("nexus.run.failed.v1", "{}")).contains("cannot be read"));
    assert!(Commit::<RunEvent>::decode(with("nexus.run.paused.v1", "{}").as_bytes()).is_ok());
}

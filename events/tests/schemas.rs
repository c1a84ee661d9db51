//! JSON Schemas of every command and event, and their index, generated from the types into
//! `docs/schemas`. What is checked in must be what the types say: `NEXUS_UPDATE_GOLDEN=1` writes it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use nexus_events::tool::registry;
use nexus_events::{
    Aggregate, AggregateKind, Command, Event, access, ledger, policy, run, session, webhook,
};
use schemars::{JsonSchema, schema_for};
use serde_json::{Map, Value, json};

/// A row of the index, and its schema.
struct Entry {
    subject: String,
    type_name: &'static str,
    visible: &'static str,
    schema: Value,
}

#[test]
fn schemas_and_their_index_are_what_the_types_say() {
    let commands = commands();
    let events = [
        events_of::<run::Run>("<run_id>"),
        events_of::<session::Session>("<session_id>"),
        events_of::<ledger::Ledger>("main"),
        events_of::<policy::Policy>("main"),
        events_of::<access::Access>("<gateway>"),
        events_of::<registry::Tools>("main"),
        events_of::<webhook::Webhooks>("main"),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>();
    let mut files = BTreeMap::from([("README.md".to_owned(), index(&commands, &events))]);
    for entry in commands.iter().chain(&events) {
        let text = format!("{}\n", serde_json::to_string_pretty(&entry.schema).unwrap());
        files.insert(format!("{}.json", entry.type_name), text);
    }
    assert_eq!(
        files.len(),
        commands.len() + events.len() + 1,
        "two types share a name"
    );
    golden(&files);
}

fn commands() -> Vec<Entry> {
    let entry = |doc: nexus_events::command::CommandDoc| Entry {
        subject: format!("nexus.<tenant>.cmd.{}.{}", doc.role, doc.verb),
        type_name: doc.type_name,
        visible: if doc.public { "public" } else { "internal" },
        schema: titled(doc.type_name, doc.schema.to_value()),
    };
    Command::catalogue().into_iter().map(entry).collect()
}

/// The data of each event, cut out of the schema of the aggregate's events.
fn events_of<A: Aggregate<Event: JsonSchema>>(id: &str) -> Vec<Entry> {
    let all = schema_for!(A::Event).to_value();
    let variants = all["oneOf"].as_array().unwrap();
    let entry = |&type_name: &&'static str| {
        let variant = variants
            .iter()
            .find(|v| v["properties"]["type"]["const"] == type_name);
        let variant = variant.unwrap_or_else(|| panic!("{type_name} has no schema"));
        let mut schema = variant["properties"]["data"].clone();
        schema["$schema"] = all["$schema"].clone();
        schema["description"] = variant["description"].clone();
        schema["$defs"] = all["$defs"].clone();
        Entry {
            subject: format!("nexus.<tenant>.log.{}.{id}", A::KIND.as_str()),
            type_name,
            visible: match A::KIND {
                AggregateKind::Run | AggregateKind::Session => "public",
                AggregateKind::Ledger
                | AggregateKind::Policy
                | AggregateKind::Access
                | AggregateKind::Keys
                | AggregateKind::Tools
                | AggregateKind::Webhooks => "internal",
            },
            schema: titled(type_name, schema),
        }
    };
    A::Event::type_names().iter().map(entry).collect()
}

/// Names the schema after its type, and leaves out definitions that it does not use.
fn titled(type_name: &str, mut schema: Value) -> Value {
    schema["title"] = json!(type_name);
    let defs = match schema.as_object_mut().unwrap().remove("$defs") {
        Some(Value::Object(defs)) => defs,
        _ => return schema,
    };
    let mut used = BTreeSet::new();
    collect(&schema, &defs, &mut used);
    let defs: Map<_, _> = defs
        .into_iter()
        .filter(|(name, _)| used.contains(name))
        .collect();
    if !defs.is_empty() {
        schema["$defs"] = Value::Object(defs);
    }
    schema
}

fn collect(value: &Value, defs: &Map<String, Value>, used: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let target = fields.get("$ref").and_then(Value::as_str);
            if let Some(name) = target.and_then(|target| target.strip_prefix("#/$defs/"))
                && used.insert(name.to_owned())
            {
                collect(&defs[name], defs, used);
            }
            fields.values().for_each(|value| collect(value, defs, used));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, defs, used)),
        _ => {}
    }
}

fn index(commands: &[Entry], events: &[Entry]) -> String {
    let mut text = "# Commands and events\n\n\
        Generated from the types in `events`; do not edit. \
        `NEXUS_UPDATE_GOLDEN=1 cargo test -p nexus-events --test schemas` writes it.\n"
        .to_owned();
    let about_commands = "A command is a CloudEvent in binary mode: the type goes into the header \
        `ce-type`, and the body is JSON that fits the schema. Public commands are for everybody; \
        internal ones are the platform's own.";
    let about_events = "What was decided at once is one message, a CloudEvents JSON batch; the \
        schema describes the `data` of an event of that `type`. Accepted events are republished on \
        the subject below.";
    for (title, about, entries) in [
        ("Commands", about_commands, commands),
        ("Events", about_events, events),
    ] {
        write!(
            text,
            "\n## {title}\n\n{about}\n\n| subject | type and schema | for | what |\n"
        )
        .unwrap();
        text.push_str("| --- | --- | --- | --- |\n");
        for Entry {
            subject,
            type_name,
            visible,
            schema,
        } in entries
        {
            let what = schema["description"]
                .as_str()
                .unwrap_or_default()
                .replace('\n', " ");
            writeln!(
                text,
                "| `{subject}` | [{type_name}]({type_name}.json) | {visible} | {what} |"
            )
            .unwrap();
        }
    }
    text
}

fn golden(files: &BTreeMap<String, String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas");
    if std::env::var_os("NEXUS_UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        for stale in names(&folder)
            .iter()
            .filter(|&name| !files.contains_key(name))
        {
            std::fs::remove_file(folder.join(stale)).unwrap();
        }
        for (name, text) in files {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }
    let expected: Vec<_> = files.keys().cloned().collect();
    assert_eq!(
        names(&folder),
        expected,
        "NEXUS_UPDATE_GOLDEN=1 writes them"
    );
    for (name, text) in files {
        let found = std::fs::read_to_string(folder.join(name)).unwrap();
        assert!(
            found == *text,
            "{name} differs: NEXUS_UPDATE_GOLDEN=1 writes it"
        );
    }
}

fn names(folder: &PathBuf) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return vec![];
    };
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().file_name().into_string().unwrap()
    };
    let mut names: Vec<_> = entries.map(name).collect();
    names.sort();
    names
}

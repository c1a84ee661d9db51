#![expect(clippy::unwrap_used, reason = "a test may fail")]

use serde_json::json;

use super::*;
use crate::tool::{Permissions, Span, ToolKind, ToolLimits};

fn tool(version: &str) -> ToolDefinition {
    ToolDefinition {
        name: "weather".to_owned(),
        version: version.to_owned(),
        description: "Says how the weather is.".to_owned(),
        category: "http".to_owned(),
        kind: ToolKind::Nats,
        idempotent: true,
        reuse_results: false,
        input_schema: json!({ "type": "object", "properties": { "city": { "type": "string" } } }),
        output_schema: None,
        permissions: Permissions::default(),
        limits: ToolLimits::default(),
    }
}

fn fold(tools: &mut Tools, events: &[ToolsEvent]) {
    for event in events {
        tools.evolve(event, Position::default());
    }
}

fn with(versions: &[&str]) -> Tools {
    let mut tools = Tools::default();
    for version in versions {
        let events = register(&tools, tool(version)).unwrap();
        assert_eq!(events.len(), 1);
        fold(&mut tools, &events);
    }
    tools
}

fn newest(tools: &Tools) -> Option<String> {
    let found = tools.resolve(ToolRef::parse("weather"))?;
    Some(found.definition.version.clone())
}

#[test]
fn a_version_is_registered_once_and_never_changes() {
    let tools = with(&["1.0.0"]);
    assert_eq!(register(&tools, tool("1.0.0")).unwrap(), vec![]);
    let mut other = tool("1.0.0");
    other.description.push('!');
    let refused = register(&tools, other).unwrap_err();
    assert_eq!((refused.code(), refused.status()), ("wrong_state", 409));
}

#[test]
fn the_newest_that_is_neither_deprecated_nor_a_preview_is_the_default() {
    let mut tools = with(&["1.9.0", "1.10.0", "2.0.0-rc.1", "0.9.0"]);
    assert_eq!(newest(&tools).as_deref(), Some("1.10.0"));
    let events = deprecate(&tools, "weather", "1.10.0", None).unwrap();
    fold(&mut tools, &events);
    assert_eq!(newest(&tools).as_deref(), Some("1.9.0"));
    assert_eq!(
        deprecate(&tools, "weather", "1.10.0", None).unwrap(),
        vec![]
    );
    // Whoever names it still gets it.
    assert!(tools.resolve(ToolRef::parse("weather@1.10.0")).is_some());
    assert!(
        tools
            .resolve(ToolRef::parse("weather@2.0.0-rc.1"))
            .is_some()
    );
    for version in ["1.9.0", "0.9.0"] {
        let events = deprecate(&tools, "weather", version, None).unwrap();
        fold(&mut tools, &events);
    }
    assert_eq!(newest(&tools).as_deref(), Some("2.0.0-rc.1"));
}

#[test]
fn a_removed_version_stays_for_the_runs_that_hold_it_and_does_not_come_back() {
    let mut tools = with(&["1.0.0"]);
    let events = remove(&tools, "weather", "1.0.0", Some("leaks".into())).unwrap();
    fold(&mut tools, &events);
    assert_eq!(newest(&tools), None);
    assert!(tools.resolve(ToolRef::parse("weather@1.0.0")).is_none());
    let kept = tools.version("weather", "1.0.0").unwrap();
    assert_eq!(kept.state, ToolState::Removed);
    assert_eq!(remove(&tools, "weather", "1.0.0", None).unwrap(), vec![]);
    for refused in [
        register(&tools, tool("1.0.0")),
        deprecate(&tools, "weather", "1.0.0", None),
    ] {
        assert_eq!(refused.unwrap_err().code(), "wrong_state");
    }
    let missing = remove(&tools, "weather", "9.0.0", None).unwrap_err();
    assert_eq!(missing.code(), "not_found");
}

#[test]
fn a_run_gets_pins_of_what_it_names() {
    let tools = with(&["1.0.0", "1.1.0"]);
    let named = |names: &[&str]| -> Vec<String> { names.iter().map(|&n| n.to_owned()).collect() };
    assert!(!needs_registry(&named(&["calculator"])));
    assert!(needs_registry(&named(&["calculator", "weather"])));
    let pinned = pins(&named(&["calculator", "weather@1.0.0"]), &tools).unwrap();
    let pin = &pinned["weather"];
    assert_eq!(
        (pinned.len(), pin.version.as_str(), pin.builtin),
        (1, "1.0.0", false)
    );
    assert_eq!(
        pin.digest,
        tools.version("weather", "1.0.0").unwrap().digest
    );
    for wrong in [
        &["weather@3.0.0"][..],
        &["wether"],
        &["weather", "weather@1.0.0"],
    ] {
        assert_eq!(
            pins(&named(wrong), &tools).unwrap_err().code(),
            "invalid",
            "{wrong:?}"
        );
    }
}

#[test]
fn what_is_not_well_formed_is_refused_by_its_field() {
    type Change = fn(&mut ToolDefinition);
    let wrong: [(&str, Change); 15] = [
        ("name", |tool| tool.name = "Weather".to_owned()),
        ("name", |tool| tool.name = "a".repeat(65)),
        ("name", |tool| tool.name = "calculator".to_owned()),
        ("version", |tool| tool.version = "1.0".to_owned()),
        ("version", |tool| tool.version = "1.0.0+build".to_owned()),
        ("description", |tool| tool.description = " ".to_owned()),
        ("description", |tool| tool.description = "x".repeat(5_000)),
        ("category", |tool| tool.category = String::new()),
        ("kind", |tool| tool.kind = ToolKind::Builtin),
        ("source", |tool| {
            tool.kind = ToolKind::Python { source: "".into() }
        }),
        ("input_schema", |tool| {
            tool.input_schema = json!({ "type": "string" })
        }),
        ("input_schema", |tool| tool.input_schema = json!([])),
        ("input_schema", |tool| {
            tool.input_schema = json!({ "type": "object", "$ref": "http://x/y" });
        }),
        ("limits.timeout", |tool| {
            tool.limits.timeout = Span::from_millis(0)
        }),
        ("limits.concurrency", |tool| tool.limits.concurrency = 0),
    ];
    for (field, change) in wrong {
        let mut definition = tool("1.0.0");
        change(&mut definition);
        match validate(&definition) {
            Err(DomainError::Invalid { field: at, .. }) => assert_eq!(at, field),
            other => assert!(other.is_err(), "{field}: {definition:?} was accepted"),
        }
    }
}

#[test]
fn a_digest_does_not_depend_on_the_order_of_fields() {
    let text = serde_json::to_string(&tool("1.0.0")).unwrap();
    let again: ToolDefinition = serde_json::from_str(&text).unwrap();
    assert_eq!(digest_of(&again), digest_of(&tool("1.0.0")));
    assert_ne!(digest_of(&tool("1.0.1")), digest_of(&tool("1.0.0")));
}

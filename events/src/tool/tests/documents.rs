use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::json;

use crate::tool::{
    ByteSize, Host, NetworkPermissions, PathPermissions, Permissions, Span, ToolPermissions,
    WorkspacePath,
};

const HOSTS: &[&str] = &[
    "*",
    "*:8080",
    "a.test",
    "a.test:*",
    "A.test.:443",
    "*.a.test",
    "*.b.a.test:8080",
    "b.a.test",
    "10.0.0.1",
    "0x0a.1:80",
    "8.8.8.8:*",
    "[fd00::1]",
];
const BLOCKED: &[&str] = &["10.*", "10.0.0.1", "8.8.8.0/24", "fd00::/8", "::/0"];
const PATHS: &[&str] = &[
    "*",
    "a/*",
    "/tmp/agent-workspace/a/**",
    "a/b/*",
    "a/b",
    "a/b/c.txt",
    "d.tar.gz",
    "d/*",
];
const EXTENSIONS: &[&str] = &[".txt", ".gz", ".TAR.gz", ".json"];
const ASKED_HOSTS: &[(&str, &str)] = &[
    ("a.test", "8.8.8.8"),
    ("a.test", "10.0.0.1"),
    ("b.a.test", "8.8.4.4"),
    ("c.b.a.test", "8.8.4.4"),
    ("xa.test", "8.8.4.4"),
    ("10.0.0.1", "10.0.0.1"),
    ("8.8.8.8", "8.8.8.8"),
    ("[fd00::1]", "fd00::1"),
];
const ASKED_PATHS: &[&str] = &[
    "a/b",
    "a/b/c.txt",
    "a/c.gz",
    "d.tar.gz",
    "d/e.json",
    "e.TXT",
    "a",
    "f",
];

fn some(from: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    subsequence(from, 0..=from.len().min(4))
        .prop_map(|list| list.into_iter().map(str::to_owned).collect())
}

prop_compose! {
    fn network()(
        allowed_hosts in some(HOSTS),
        blocked_ips in prop_oneof![3 => Just(Vec::new()), 1 => some(BLOCKED)],
        size in prop::option::of(0_u64..4 << 20),
        time in prop::option::of(0_u64..40_000),
    ) -> NetworkPermissions {
        NetworkPermissions {
            allowed_hosts,
            blocked_ips,
            max_response_size: size.map(ByteSize::bytes),
            timeout: time.map(Span::from_millis),
        }
    }
}

prop_compose! {
    fn document()(
        network in prop::option::weighted(0.9, network()),
        paths in prop::option::weighted(0.9, (some(PATHS), some(PATHS))),
        extensions in prop::option::of(some(EXTENSIONS)),
        size in prop::option::of(0_u64..4 << 20),
        languages in some(&["python", "javascript"]),
        cpu in prop::option::of(0_u64..40_000),
        memory in prop::option::of(0_u64..1 << 30),
        network_access: bool,
    ) -> Permissions {
        Permissions {
            network,
            paths: paths.map(|(read, write)| PathPermissions { read, write, execute: Vec::new() }),
            max_file_size: size.map(ByteSize::bytes),
            allowed_extensions: extensions,
            languages,
            max_cpu_time: cpu.map(Span::from_millis),
            max_memory: memory.map(ByteSize::bytes),
            network_access,
        }
    }
}

/// Everything that a document answers, to the same questions.
fn answers(document: &Permissions) -> Vec<bool> {
    let mut answers = Vec::new();
    for (host, address) in ASKED_HOSTS {
        let host = Host::parse(host).unwrap();
        let address: IpAddr = address.parse().unwrap();
        for port in [80, 443, 8080, 22] {
            let rules = document
                .network
                .as_ref()
                .and_then(|network| network.rules().ok());
            answers.push(
                rules
                    .as_ref()
                    .is_some_and(|rules| rules.host(&host, port).is_ok()),
            );
            answers.push(rules.is_some_and(|rules| {
                rules.host(&host, port).is_ok() && rules.address(&host, port, address).is_ok()
            }));
        }
    }
    for path in ASKED_PATHS {
        let path = WorkspacePath::parse(path).unwrap();
        let rules = document.path_rules().ok();
        answers.push(
            rules
                .as_ref()
                .is_some_and(|rules| rules.read(&path).is_ok()),
        );
        answers.push(
            rules
                .as_ref()
                .is_some_and(|rules| rules.write(&path).is_ok()),
        );
    }
    for language in ["python", "javascript", "rust"] {
        answers.push(document.languages.iter().any(|one| one == language));
    }
    answers.push(document.network_access);
    answers
}

/// Everything that a document measures.
fn measures(document: &Permissions) -> Vec<u64> {
    let network = document.network.clone().unwrap_or_default();
    vec![
        document.file_size().get(),
        document.cpu_time().millis(),
        document.memory().get(),
        network.response_size().get(),
        network.time_limit().millis(),
    ]
}

proptest! {
    #[test]
    fn narrowed_allows_exactly_what_both_allow(a in document(), b in document()) {
        let narrowed = a.narrow(&b);
        let both: Vec<_> = answers(&a).into_iter().zip(answers(&b)).map(|(a, b)| a && b).collect();
        prop_assert_eq!(answers(&narrowed), both);
        if a.network.is_some() && b.network.is_some() {
            let least: Vec<_> = measures(&a).into_iter().zip(measures(&b)).map(|(a, b)| a.min(b)).collect();
            prop_assert_eq!(measures(&narrowed), least);
        }
        prop_assert!(narrowed.check().is_ok());
    }

    #[test]
    fn narrowing_again_changes_nothing_and_order_does_not_count(a in document(), b in document(), c in document()) {
        let narrowed = a.narrow(&b);
        prop_assert_eq!(&narrowed.narrow(&b), &narrowed);
        prop_assert_eq!(&narrowed.narrow(&narrowed), &narrowed);
        prop_assert_eq!(answers(&b.narrow(&a)), answers(&narrowed));
        prop_assert_eq!(answers(&narrowed.narrow(&c)), answers(&a.narrow(&b.narrow(&c))));
        prop_assert_eq!(answers(&a.narrow(&a)), answers(&a));
    }

    #[test]
    fn a_mistake_survives_and_opens_nothing(a in document(), mistake in select(vec!["http://x", "a b", "*a"])) {
        let mut wrong = a.clone();
        let network = NetworkPermissions { allowed_hosts: vec!["*:*".to_owned(), mistake.to_owned()], ..NetworkPermissions::default() };
        wrong.network = Some(network);
        let narrowed = a.narrow(&wrong);
        if let Some(network) = narrowed.network {
            prop_assert!(network.rules().is_err());
        }
    }
}

#[test]
fn a_permissions_file_is_read_by_name_and_by_category() {
    let file: ToolPermissions = serde_json::from_value(json!({ "tools": {
        "http_request": { "permissions": { "network": {
            "allowed_hosts": ["api.example.com", "*.safe-domain.com"],
            "blocked_ips": ["127.0.0.1", "192.168.*", "10.*"],
            "max_response_size": "10MB",
            "timeout": "30s"
        } } },
        "file_system": { "permissions": {
            "paths": {
                "read": ["/tmp/agent-workspace/*"],
                "write": ["/tmp/agent-workspace/output/*"],
                "execute": []
            },
            "max_file_size": "5MB",
            "allowed_extensions": [".txt", ".json", ".csv"]
        } },
        "code_execution": { "permissions": {
            "languages": ["python", "javascript"],
            "max_cpu_time": "10s",
            "max_memory": "128MB",
            "network_access": false
        } }
    } }))
    .unwrap();
    let http = file.of("http_request", "http");
    assert_eq!(http.network.as_ref().unwrap().time_limit().millis(), 30_000);
    let write = file.of("file_write", "file_system");
    assert_eq!(write.file_size().get(), 5 << 20);
    assert_eq!(file.of("code_execution", "system").languages.len(), 2);
    assert!(file.of("calculator", "data_analysis").is_none());
    for entry in file.tools.values() {
        assert_eq!(entry.permissions.check(), Ok(()));
    }
}

#[test]
fn a_document_out_of_bounds_is_not_taken_in() {
    let hosts = |allowed_hosts| Permissions {
        network: Some(NetworkPermissions {
            allowed_hosts,
            ..NetworkPermissions::default()
        }),
        ..Permissions::default()
    };
    assert!(hosts(vec!["a.test".to_owned(); 257]).check().is_err());
    assert!(hosts(vec!["a".repeat(2000)]).check().is_err());
    let error = hosts(vec!["http://a.test".to_owned()]).check().unwrap_err();
    assert!(
        error.to_string().contains("network.allowed_hosts"),
        "{error}"
    );
}

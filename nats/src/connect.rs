//! One connection a process. It reconnects for ever and says so in the log; whoever must not work
//! without the bus asks [`Bus::is_connected`]. A pool of connections was left out: the server's
//! single core binds long before one connection does.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_nats::{Client, ConnectOptions, Event, ServerAddr, jetstream};
use nexus_events::Timestamp;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::lonely::Lonely;
use crate::seal::Seals;

/// How a process reaches the bus.
#[derive(Clone)]
pub struct BusConfig {
    /// Server addresses, comma separated: `nats://127.0.0.1:4222`, `tls://…`. User and password may
    /// be in the first one, `nats://user:password@host`, where `credentials` gives none.
    pub url: String,
    /// Name of the connection, as the server's monitoring shows it.
    pub name: String,
    /// How the process identifies itself.
    pub credentials: Credentials,
    /// Certificate authority of the server, where the system does not know it.
    pub root_certificate: Option<PathBuf>,
    /// How long an acknowledgement or an answer is waited for before it is asked for again.
    pub request_timeout: Duration,
    /// How long a write or a read is retried before it is given up: longer than a fail-over, which
    /// takes 5 to 7 s.
    pub retry_for: Duration,
    /// Nodes in the cluster that hold each stream, 1 or 3. With more than one, a decisive read asks
    /// the leader, as another node may be behind.
    pub replicas: usize,
    /// How commands show who they are from.
    pub seals: Seals,
}

impl BusConfig {
    /// Defaults for a server at `url`, with the connection named `name`.
    pub fn new(url: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            name: name.into(),
            credentials: Credentials::None,
            root_certificate: None,
            request_timeout: Duration::from_secs(3),
            retry_for: Duration::from_secs(45),
            replicas: 1,
            seals: Seals::default(),
        }
    }
}

impl fmt::Debug for BusConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusConfig")
            .field("url", &without_secrets(&self.url))
            .field("name", &self.name)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

/// How a process identifies itself to the server.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Not at all.
    #[default]
    None,
    /// User and password.
    UserPassword {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A token.
    Token(String),
    /// Seed of an NKey.
    Nkey(String),
    /// File with a JWT and a seed, as `nsc` writes it.
    File(PathBuf),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::UserPassword { user, .. } => write!(f, "UserPassword({user})"),
            Self::Token(_) => f.write_str("Token"),
            Self::Nkey(_) => f.write_str("Nkey"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

/// A connection that could not even be tried.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The credentials file cannot be used.
    #[error("credentials file {path} cannot be read")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The address or the options are not usable.
    #[error("cannot connect to {url}")]
    Options {
        /// The address.
        url: String,
        /// Why.
        #[source]
        source: async_nats::ConnectError,
    },
}

/// Where the time comes from; tests bring their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The connection to the bus. Cheap to clone.
#[derive(Clone)]
pub struct Bus(Arc<Inner>);

struct Inner {
    client: Client,
    jetstream: jetstream::Context,
    link: watch::Receiver<Link>,
    clock: Clock,
    request_timeout: Duration,
    retry_for: Duration,
    replicas: usize,
    seals: Seals,
    lonely: Lonely,
}

/// Whether there is a connection, and the how manieth it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) up: bool,
    pub(crate) epoch: u64,
}

impl Bus {
    /// Connects, and waits for the server as long as it takes.
    ///
    /// # Errors
    /// [`ConnectError`]: options that can never work. A server that is away is waited for.
    pub async fn connect(config: BusConfig) -> Result<Self, ConnectError> {
        let bus = Self::open(config).await?;
        bus.connected().await;
        Ok(bus)
    }

    /// Starts to connect and returns at once: for a process that must answer `/readyz` while the
    /// bus is still away.
    ///
    /// # Errors
    /// [`ConnectError`]: options that can never work.
    pub async fn open(config: BusConfig) -> Result<Self, ConnectError> {
        Self::open_with_clock(config, Arc::new(system_clock)).await
    }

    /// The same with a clock of the caller's.
    ///
    /// # Errors
    /// [`ConnectError`]: options that can never work.
    pub async fn open_with_clock(config: BusConfig, clock: Clock) -> Result<Self, ConnectError> {
        let (changes, link) = watch::channel(Link::default());
        let options = authenticate(ConnectOptions::new(), &config).await?;
        let mut options = options
            .name(&config.name)
            .retry_on_initial_connect()
            .max_reconnects(None)
            .connection_timeout(Duration::from_secs(5))
            .ping_interval(Duration::from_secs(10))
            .request_timeout(Some(config.request_timeout))
            .reconnect_delay_callback(reconnect_delay)
            .event_callback(move |event| {
                note(&event, &changes);
                std::future::ready(())
            });
        if let Some(path) = config.root_certificate {
            options = options.add_root_certificates(path);
        }
        let servers: Vec<&str> = config.url.split(',').map(str::trim).collect();
        let client = (options.connect(servers.as_slice()).await).map_err(|source| {
            ConnectError::Options {
                url: without_secrets(&config.url),
                source,
            }
        })?;
        Ok(Self(Arc::new(Inner {
            jetstream: jetstream::new(client.clone()),
            client,
            link,
            clock,
            request_timeout: config.request_timeout,
            retry_for: config.retry_for,
            replicas: config.replicas,
            seals: config.seals,
            lonely: Lonely::new(),
        })))
    }

    /// The plain NATS client: for subscriptions and live messages.
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// The JetStream context: for consumers of one's own.
    pub fn jetstream(&self) -> &jetstream::Context {
        &self.0.jetstream
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        (self.0.clock)()
    }

    /// Whether there is a connection to the server now.
    pub fn is_connected(&self) -> bool {
        self.0.link.borrow().up
    }

    /// Waits until there is a connection, with a sentence in the log every 10 s.
    pub async fn connected(&self) {
        let mut link = self.0.link.clone();
        let since = Instant::now();
        loop {
            match tokio::time::timeout(Duration::from_secs(10), link.wait_for(|link| link.up)).await
            {
                Ok(_) => return,
                Err(_) => {
                    warn!(
                        waited_s = since.elapsed().as_secs(),
                        "the bus is away, waiting for it"
                    );
                }
            }
        }
    }

    /// How long a write or a read is retried before it is given up.
    pub fn retry_for(&self) -> Duration {
        self.0.retry_for
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        self.0.request_timeout
    }

    pub(crate) fn replicas(&self) -> usize {
        self.0.replicas
    }

    pub(crate) fn seals(&self) -> &Seals {
        &self.0.seals
    }

    /// JetStream has answered, or nobody has: a node that is cut off from the others is left.
    pub(crate) async fn heard(&self, answered: bool) {
        if self.0.replicas <= 1 {
            return;
        }
        if answered {
            self.0.lonely.heard();
        } else if let Some(silence) = self.0.lonely.silent() {
            let silent_ms = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
            warn!(
                silent_ms,
                "this node of the bus does nothing, trying another one"
            );
            // It fails only when the client has ended, and then there is nothing to move.
            let _ = self.0.client.force_reconnect().await;
        }
    }

    pub(crate) fn link(&self) -> watch::Receiver<Link> {
        self.0.link.clone()
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus")
            .field("link", &*self.0.link.borrow())
            .finish_non_exhaustive()
    }
}

async fn authenticate(
    options: ConnectOptions,
    config: &BusConfig,
) -> Result<ConnectOptions, ConnectError> {
    Ok(match config.credentials.clone() {
        Credentials::None => match user_of(&config.url) {
            Some((user, password)) => options.user_and_password(user, password),
            None => options,
        },
        Credentials::UserPassword { user, password } => options.user_and_password(user, password),
        Credentials::Token(token) => options.token(token),
        Credentials::Nkey(seed) => options.nkey(seed),
        Credentials::File(path) => {
            let unreadable = |source| ConnectError::Credentials {
                path: path.clone(),
                source,
            };
            let text = tokio::fs::read_to_string(&path).await.map_err(unreadable)?;
            options.credentials(&text).map_err(unreadable)?
        }
    })
}

/// User and password in an address.
fn user_of(url: &str) -> Option<(String, String)> {
    let server: ServerAddr = url.split(',').next()?.trim().parse().ok()?;
    Some((server.username()?.to_owned(), server.password()?.to_owned()))
}

/// Addresses as they may be logged.
fn without_secrets(url: &str) -> String {
    let bare = |server: &str| match (server.split_once("://"), server.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        _ => server.to_owned(),
    };
    url.split(',').map(bare).collect::<Vec<_>>().join(",")
}

fn reconnect_delay(attempts: usize) -> Duration {
    if attempts <= 1 {
        return Duration::ZERO;
    }
    let attempt = u32::try_from(attempts - 2).unwrap_or(u32::MAX);
    crate::backoff::Backoff::REQUEST.delay(attempt)
}

fn note(event: &Event, link: &watch::Sender<Link>) {
    match event {
        Event::Connected => {
            link.send_modify(|link| {
                *link = Link {
                    up: true,
                    epoch: link.epoch + 1,
                }
            });
            info!("connected to the bus");
        }
        Event::Disconnected => {
            link.send_modify(|link| link.up = false);
            warn!("the bus is away, connecting again");
        }
        Event::Closed => {
            link.send_modify(|link| link.up = false);
            info!("the connection to the bus is closed");
        }
        Event::SlowConsumer(sid) => {
            error!(
                sid,
                "a subscription is too slow: messages to it were dropped"
            );
        }
        Event::ServerError(error) => error!(%error, "the bus reports an error"),
        Event::ClientError(error) => warn!(%error, "the connection to the bus has an error"),
        Event::LameDuckMode => info!("the server of the bus is about to stop, moving to another"),
        Event::Draining => {}
    }
}

/// The system's clock, ahead by so many milliseconds, or behind: what a process sees on a machine whose
/// clock is wrong. For trying that out.
pub fn skewed_clock(offset_ms: i64) -> Clock {
    Arc::new(move || Timestamp::from_millis(system_clock().as_millis().saturating_add(offset_ms)))
}

/// The system's clock.
pub(crate) fn system_clock() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_carry_a_user_and_never_shows_it() {
        let url = "nats://ann:secret@a:4222,tls://ann:secret@b:4222,c:4222";
        assert_eq!(user_of(url), Some(("ann".to_owned(), "secret".to_owned())));
        assert_eq!(user_of("nats://a:4222"), None);
        assert_eq!(without_secrets(url), "nats://a:4222,tls://b:4222,c:4222");
        assert!(!format!("{:?}", BusConfig::new(url, "test")).contains("secret"));
    }
}

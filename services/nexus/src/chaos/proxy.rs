//! A TCP proxy in this process between a role and a server, which can be told to do what networks do.
//! Rules of the kernel's packet filter were the alternative: they need privileges, and a machine that
//! nobody else uses.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const BUFFER_BYTES: usize = 16 * 1024;

/// What becomes of connections now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They work.
    #[default]
    Pass,
    /// New ones are closed at once.
    Refuse,
    /// They are open, and nothing comes through.
    Stall,
    /// Everything comes so much later.
    Delay(Duration),
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    mode: Mode,
    /// How often all connections were cut.
    cuts: u64,
}

/// One proxy. It ends when it is dropped, and its connections with it.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) port: u16,
    state: watch::Sender<State>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port of the loopback and passes on to `to`.
    ///
    /// # Errors
    /// There is no port.
    pub(crate) async fn start(to: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let (state, seen) = watch::channel(State::default());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if seen.borrow().mode != Mode::Refuse {
                    tokio::spawn(connection(client, to, seen.clone()));
                }
            }
        });
        Ok(Self { port, state, task })
    }

    /// Every connection is cut, and new ones fare as the mode says.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// From now on.
    pub(crate) fn set(&self, mode: Mode) {
        self.state.send_modify(|state| state.mode = mode);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

async fn connection(client: TcpStream, to: SocketAddr, seen: watch::Receiver<State>) {
    let before = seen.borrow().cuts;
    let Ok(server) = TcpStream::connect(to).await else {
        return;
    };
    // Without it a small message can wait 40 ms for an acknowledgement: a delay that nobody planned.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    let mut cut = seen.clone();
    tokio::select! {
        () = pump(client_in, server_out, seen.clone()) => {}
        () = pump(server_in, client_out, seen) => {}
        // Ends too when the proxy is gone.
        _ = cut.wait_for(|state| state.cuts != before) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut seen: watch::Receiver<State>,
) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let mode = seen.borrow().mode;
        if let Mode::Delay(by) = mode {
            tokio::time::sleep(by).await;
        }
        if seen
            .wait_for(|state| state.mode != Mode::Stall)
            .await
            .is_err()
        {
            return;
        }
        let Some(read) = buffer.get(..length) else {
            return;
        };
        if to.write_all(read).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use std::time::Instant;

    use super::*;

    /// Answers every byte with itself.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        address
    }

    async fn ask(stream: &mut TcpStream) -> std::io::Result<u8> {
        stream.write_u8(7).await?;
        stream.read_u8().await
    }

    async fn client(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap()
    }

    #[tokio::test]
    async fn a_cut_ends_what_is_open_and_nothing_else() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut open = client(&proxy).await;
        assert_eq!(ask(&mut open).await.unwrap(), 7);
        proxy.cut();
        assert!(open.read_u8().await.is_err());
        assert_eq!(ask(&mut client(&proxy).await).await.unwrap(), 7);
        proxy.set(Mode::Refuse);
        assert!(ask(&mut client(&proxy).await).await.is_err());
    }

    #[tokio::test]
    async fn what_stalls_comes_through_afterwards_and_what_is_delayed_comes_later() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut open = client(&proxy).await;
        assert_eq!(ask(&mut open).await.unwrap(), 7);
        proxy.set(Mode::Stall);
        let short = Duration::from_millis(100);
        assert!(tokio::time::timeout(short, ask(&mut open)).await.is_err());
        proxy.set(Mode::Pass);
        assert_eq!(open.read_u8().await.unwrap(), 7);
        proxy.set(Mode::Delay(Duration::from_millis(40)));
        let asked = Instant::now();
        assert_eq!(ask(&mut open).await.unwrap(), 7);
        assert!(asked.elapsed() >= Duration::from_millis(80));
    }
}

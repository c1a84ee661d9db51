//! Ctrl-C, SIGTERM, and the end of whoever started us.

use std::io::Read;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Waits for signals that ask the program to stop.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes the signals over; from here on they do not end the program by themselves.
    ///
    /// # Errors
    /// The operating system refuses.
    pub(crate) fn install() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The next one's name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// Waits until standard input closes, which it does at the latest when the process that holds its other
/// end dies. A thread waits for it, since a read of standard input cannot be given up.
pub(crate) async fn parent_gone() {
    let (tell, told) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        // The parent writes nothing; whatever ends the read is its end.
        let _ = std::io::stdin().read(&mut [0]);
        drop(tell);
    });
    let _ = told.await;
}

//! The embedded model's server: fetched and started when the first call needs it, started again when
//! it has died, stopped with the program.

use std::sync::Arc;

use futures_util::FutureExt;
use nexus_devstack::{Cache, DevstackError, LocalModel, LocalModelOptions, Progress};
use nexus_llm::provider::EndpointResolver;
use tokio::sync::{Mutex, watch};
use tracing::info;

use crate::config::ModelsConfig;

/// Holds the server, once there is one.
pub(crate) struct LocalModelHost {
    threads: u16,
    running: Mutex<Option<LocalModel>>,
    notices: watch::Sender<String>,
}

impl LocalModelHost {
    pub(crate) fn new(config: &ModelsConfig) -> Arc<Self> {
        let (notices, _) = watch::channel(String::new());
        Arc::new(Self {
            threads: config.local_threads.unwrap_or(1),
            running: Mutex::new(None),
            notices,
        })
    }

    /// What is being done to get the model ready, for those who wait for it.
    pub(crate) fn notices(&self) -> watch::Receiver<String> {
        self.notices.subscribe()
    }

    /// Gives the server's address, and starts it if need be.
    pub(crate) fn resolver(self: &Arc<Self>) -> EndpointResolver {
        let host = Arc::clone(self);
        Arc::new(move || {
            let host = Arc::clone(&host);
            async move { host.endpoint().await.map_err(|error| error.to_string()) }.boxed()
        })
    }

    pub(crate) async fn stop(&self) {
        if let Some(mut model) = self.running.lock().await.take() {
            model.stop().await;
        }
    }

    async fn endpoint(&self) -> Result<String, DevstackError> {
        let mut running = self.running.lock().await;
        if let Some(model) = running.as_ref() {
            if model.exited().now_or_never().is_none() {
                return Ok(model.base_url().to_owned());
            }
            info!("the local model's server has ended and is started again");
        }
        let notices = self.notices.clone();
        let progress = Progress::new(move |line: &str| {
            info!("{line}");
            notices.send_replace(line.to_owned());
        });
        let cache = Cache::discover()?;
        notices_started(&self.notices);
        let options = LocalModelOptions {
            threads: self.threads,
            ..LocalModelOptions::default()
        };
        let model = LocalModel::start(&cache, &progress, options).await?;
        let url = model.base_url().to_owned();
        *running = Some(model);
        Ok(url)
    }
}

fn notices_started(notices: &watch::Sender<String>) {
    notices.send_replace("starting the local model".to_owned());
}

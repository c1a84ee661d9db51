//! The delivering half of the role: looks which webhooks there are and which are its own, and keeps a
//! task for each of these.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use nexus_bus::{Bus, Store};
use nexus_events::webhook::Webhook;
use nexus_events::{AggregateKind, Tenant, WebhookId, subject};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::config::Settings;
use crate::crew::{self, View};
use crate::directory::Directory;
use crate::endpoint::{self, Assignment, Means};
use crate::hints::Hints;
use crate::metrics::metrics;
use crate::post::Post;

/// Changes are heard of; this is for what was not.
const LOOKS_EVERY: Duration = Duration::from_millis(500);

/// Delivers until `shutdown`.
pub async fn deliver(bus: Bus, store: Store, settings: Settings, shutdown: CancellationToken) {
    let Some(key) = settings.key.clone() else {
        warn!("webhooks have no key: set webhooks.secret_file; nothing is delivered");
        return shutdown.cancelled().await;
    };
    let post = match Post::new(Arc::clone(&settings.reach), settings.timeout) {
        Ok(post) => post,
        Err(reason) => {
            error!(reason, "webhooks cannot be delivered from this machine");
            return shutdown.cancelled().await;
        }
    };
    let me = Uuid::now_v7();
    let (say, views) = watch::channel(None);
    let attending = tokio::spawn(crew::attend(bus.clone(), me, say, shutdown.clone()));
    let means = Means {
        bus: bus.clone(),
        store,
        post,
        key,
        settings,
    };
    let mut service = Service {
        hints: Hints::new(bus.clone()),
        means: Arc::new(means),
        directory: Directory::default(),
        tasks: HashMap::new(),
    };
    info!(worker = %me, "webhooks are delivered");
    service.run(&views, &shutdown).await;
    service.stop().await;
    let _ = attending.await;
    crew::leave(&bus, me).await;
    info!("webhooks are not delivered here any more");
}

struct Service {
    means: Arc<Means>,
    hints: Hints,
    directory: Directory,
    tasks: HashMap<(Tenant, WebhookId), Serving>,
}

struct Serving {
    changed_seq: u64,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Service {
    async fn run(&mut self, views: &watch::Receiver<Option<View>>, shutdown: &CancellationToken) {
        let log = subject::log_of_kind(AggregateKind::Webhooks);
        let mut changes = self.means.bus.client().subscribe(log).await.ok();
        loop {
            let caught_up = tokio::select! {
                () = shutdown.cancelled() => return,
                caught_up = self.directory.catch_up(&self.means.bus) => caught_up,
            };
            if let Err(error) = caught_up {
                warn!(%error, "changes of webhooks cannot be read");
            }
            let view = views.borrow().clone();
            self.assign(view.as_ref());
            let changed = async {
                match &mut changes {
                    Some(changes) => changes.next().await.map(drop),
                    None => None,
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(LOOKS_EVERY) => {}
                Some(()) = changed => {}
            }
        }
    }

    /// Begins what is to be done here, and ends what is not. What has changed ends first and begins
    /// at the next look.
    fn assign(&mut self, view: Option<&View>) {
        let mine = |webhook| view.is_some_and(|view: &View| view.is_mine(webhook));
        let wanted: HashMap<(Tenant, WebhookId), &Webhook> = (self.directory.enabled())
            .filter(|(_, hook)| mine(hook.id))
            .map(|(tenant, hook)| ((tenant.clone(), hook.id), hook))
            .collect();
        self.tasks.retain(|name, serving| {
            let changed_seq = wanted.get(name).map(|hook| hook.changed_seq);
            if changed_seq != Some(serving.changed_seq) {
                serving.stop.cancel();
            }
            !serving.task.is_finished()
        });
        for (name, hook) in wanted {
            if self.tasks.contains_key(&name) {
                continue;
            }
            let stop = CancellationToken::new();
            let assignment = Assignment {
                tenant: name.0.clone(),
                hook: Arc::new(hook.clone()),
                hints: self.hints.of(&name.0),
                stop: stop.clone(),
            };
            let task = tokio::spawn(endpoint::serve(Arc::clone(&self.means), assignment));
            let changed_seq = hook.changed_seq;
            let serving = Serving {
                changed_seq,
                stop,
                task,
            };
            self.tasks.insert(name, serving);
        }
        let tasks = &self.tasks;
        (self.hints).keep(|tenant| tasks.keys().any(|(of, _)| of == tenant));
        let count = i64::try_from(self.tasks.len()).unwrap_or(i64::MAX);
        metrics().serving.set(count);
    }

    async fn stop(&mut self) {
        self.tasks
            .values()
            .for_each(|serving| serving.stop.cancel());
        for (_, serving) in self.tasks.drain() {
            let _ = serving.task.await;
        }
        metrics().serving.set(0);
    }
}

//! What a guest finds outside: the imports of `wit/tool.wit`, and WASI with nothing behind it.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi::{
    FsPerms, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView,
};

use crate::broker::{HttpBroker, HttpRequest, HttpResponse};
use crate::call::Call;
use crate::cpu::Meter;
use crate::error::Fault;
use crate::limits::Limiter;
use crate::output::Sink;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "tool",
        imports: {
            "nexus:tool/log.write": trappable,
            "nexus:tool/http.send": async | trappable,
        },
        exports: { default: async },
    });
}

pub(crate) use bindings::ToolPre;
use bindings::nexus::tool::{http, log};

/// Streams, files and the like that one guest may hold at once. Each costs the host memory, and a
/// file one of its descriptors.
const MAX_HANDLES: usize = 128;
/// Handles of things that guests make themselves, which the host keeps for them.
const MAX_OWN_HANDLES: usize = 1000;
/// What one call of the host may be made to copy, unless the result may be larger, in bytes.
const MIN_COPIED: usize = 4 << 20;
const MAX_RANDOM: u64 = 64 << 10;

/// A store's data: the limiter, and what the kind of guest needs.
pub(crate) struct Guarded<T> {
    pub(crate) limiter: Limiter,
    pub(crate) inner: T,
}

/// What a component reaches.
pub(crate) struct Host {
    wasi: WasiCtx,
    table: ResourceTable,
    log: Sink,
    network: Option<Arc<dyn HttpBroker>>,
    requests_left: u32,
    meter: Arc<Meter>,
}

/// One call, and what is kept of it.
pub(crate) struct Frame {
    pub(crate) call: Call,
    pub(crate) meter: Arc<Meter>,
    pub(crate) log: Sink,
    /// The most memory that any call may have.
    pub(crate) max_memory: u64,
}

/// A store whose guest yields every few milliseconds, and ends when its time is used up.
pub(crate) fn store<T: Send>(engine: &Engine, frame: &Frame, inner: T) -> Store<Guarded<T>> {
    let limits = &frame.call.limits;
    let limiter = Limiter::new(limits, frame.max_memory, Arc::clone(&frame.meter));
    let mut store = Store::new(engine, Guarded { limiter, inner });
    store.limiter(|data| &mut data.limiter);
    store.set_epoch_deadline(1);
    // Above the limit by as much as shows that it is exceeded.
    let output = usize::try_from(limits.output.saturating_add(64)).unwrap_or(usize::MAX);
    store.set_hostcall_fuel(output.max(MIN_COPIED));
    store.set_max_component_handles(MAX_OWN_HANDLES);
    if let Some(tasks) = store.concurrent_resource_table() {
        tasks.set_max_capacity(MAX_OWN_HANDLES);
    }
    let meter = Arc::clone(&frame.meter);
    let workspace = frame.call.workspace.as_ref();
    let quota = workspace.and_then(|place| Some((place.dir.clone(), place.quota?)));
    store.epoch_deadline_callback(move |_| {
        if meter.is_spent() {
            return Err(meter.stop(Fault::CpuExceeded));
        }
        if let Some((dir, quota)) = &quota
            && quota.is_exceeded(dir)
        {
            return Err(meter.stop(Fault::FilesExceeded));
        }
        Ok(UpdateDeadline::Yield(1))
    });
    store
}

impl Host {
    pub(crate) fn new(frame: &Frame) -> Result<Self, Fault> {
        let Frame { call, log, .. } = frame;
        let mut wasi = wasi(log);
        wasi.stdout(log.clone());
        if let Some(workspace) = &call.workspace {
            let perms = match workspace.quota {
                Some(_) => FsPerms::ReadWrite,
                None => FsPerms::ReadOnly,
            };
            let opened = wasi.preopened_dir(&workspace.dir, "/workspace", perms);
            opened.map_err(|error| {
                Fault::Sandbox(format!("the workspace cannot be opened: {error:#}"))
            })?;
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        Ok(Self {
            wasi: wasi.build(),
            table,
            log: log.clone(),
            network: call.network.clone(),
            requests_left: call.limits.requests,
            meter: Arc::clone(&frame.meter),
        })
    }
}

/// WASI without arguments, environment, files and sockets; standard error goes to the log.
pub(crate) fn wasi(log: &Sink) -> WasiCtxBuilder {
    let mut wasi = WasiCtxBuilder::new();
    wasi.stderr(log.clone())
        .max_random_size(MAX_RANDOM)
        .wall_clock(Coarse)
        .monotonic_clock(CoarseSince(std::time::Instant::now()))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    wasi
}

/// All that a component may import.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guarded<Host>>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    log::add_to_linker::<_, HasSelf<Host>>(&mut linker, |data: &mut Guarded<Host>| {
        &mut data.inner
    })?;
    http::add_to_linker::<_, HasSelf<Host>>(&mut linker, |data: &mut Guarded<Host>| {
        &mut data.inner
    })?;
    Ok(linker)
}

impl WasiView for Guarded<Host> {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.inner.wasi,
            table: &mut self.inner.table,
        }
    }
}

impl log::Host for Host {
    fn write(&mut self, line: String) -> wasmtime::Result<()> {
        self.log.push(line.as_bytes())?;
        self.log.push(b"\n")
    }
}

impl http::Host for Host {
    async fn send(
        &mut self,
        request: http::Request,
    ) -> wasmtime::Result<Result<http::Response, String>> {
        let Some(network) = &self.network else {
            return Ok(Err("this tool has no network access".to_owned()));
        };
        self.requests_left = match self.requests_left.checked_sub(1) {
            Some(left) => left,
            None => return Err(self.meter.stop(Fault::RequestsExceeded)),
        };
        Ok(network.send(request.into()).await.map(Into::into))
    }
}

impl From<http::Request> for HttpRequest {
    fn from(request: http::Request) -> Self {
        Self {
            method: request.method,
            url: request.url,
            headers: request.headers,
            body: request.body,
        }
    }
}

impl From<HttpResponse> for http::Response {
    fn from(response: HttpResponse) -> Self {
        Self {
            status: response.status,
            headers: response.headers,
            body: response.body,
        }
    }
}

/// Clocks in steps of a millisecond: enough for a tool, too coarse to time the host's caches with.
struct Coarse;
struct CoarseSince(std::time::Instant);

const STEP: Duration = Duration::from_millis(1);

impl HostWallClock for Coarse {
    fn resolution(&self) -> Duration {
        STEP
    }

    fn now(&self) -> Duration {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let millis = now.unwrap_or_default().as_millis();
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }
}

impl HostMonotonicClock for CoarseSince {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        let millis = u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX);
        millis.saturating_mul(1_000_000)
    }
}

//! Puts the configuration and the parts together: which role has which services, and how
//! they end.

use super::DaemonError;
use crate::api::{self, BulkLimits, Certificate, Services, State};
use crate::config::{Config, Executor, Queues, Roles, ScheduleConfig, TaskConfig, TaskDefaults};
use crate::executor::command::Command;
use crate::executor::http::Calls;
use crate::executor::{Defaults as TypeDefaults, Registry, Schema};
use crate::lifecycle::Tools;
use crate::lifecycle::fire::Firing;
use crate::lifecycle::follow::Follow;
use crate::lifecycle::journal::Keeper;
use crate::lifecycle::lookup::Lookup;
use crate::lifecycle::pull::Desk;
use crate::lifecycle::submit::{Defaults, Submitter, admit};
use crate::lifecycle::wait::Waits;
use crate::scheduler::{self, ScheduleSpec};
use crate::store::Store;
use crate::store::tasks::Retention;
use crate::stream::{Gates, MoveFeed, Outbox, Stream, Wakes};
use crate::task::Fault;
use crate::task::schedule::Definition;
use crate::telemetry::Metrics;
use crate::worker::{self, Served, Settings};
use actix_web::dev::{Server, ServerHandle};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The built-in schedule.
const HEARTBEAT: &str = "heartbeat";
/// For the last acknowledgements at the end.
const FLUSH_LIMIT: Duration = Duration::from_secs(3);

/// What services are made from.
pub(super) struct Parts<'a> {
    pub(super) config: &'a Config,
    pub(super) registry: Arc<Registry>,
    pub(super) store: &'a Store,
    pub(super) stream: &'a Stream,
    pub(super) metrics: &'a Metrics,
    pub(super) schedules: Vec<ScheduleSpec>,
}

/// The services of a process, none of which should end before it is stopped.
pub(super) struct Running {
    /// They end when the process is stopped.
    services: Ends,
    /// They serve the others, and end after them.
    residents: Ends,
    http: ServerHandle,
    outbox: Option<Outbox>,
    /// One message from each role that is up.
    ups: mpsc::Receiver<()>,
    up: mpsc::Sender<()>,
    awaited: usize,
}

impl Running {
    /// With the listener alone.
    pub(super) fn new(server: Server) -> Self {
        let http = server.handle();
        let mut services = JoinSet::new();
        services.spawn(async move {
            let why = server.await.map_or_else(|error| format!(": {error}"), |()| String::new());
            ("HTTP listener", why)
        });
        let (up, ups) = mpsc::channel(8);
        Self { services, residents: JoinSet::new(), http, outbox: None, ups, up, awaited: 0 }
    }

    fn spawn(&mut self, name: &'static str, service: impl Future<Output = ()> + Send + 'static) {
        self.services.spawn(async move {
            service.await;
            (name, String::new())
        });
    }

    /// Has the listener's certificate renewed as its files are.
    pub(super) fn watch_certificate(
        &mut self,
        certificate: Arc<Certificate>,
        metrics: Metrics,
        stop: CancellationToken,
    ) {
        self.spawn("watch of the certificate", async move { certificate.watch(&metrics, stop).await });
    }

    /// Starts the services of every role.
    pub(super) fn start_services(&mut self, parts: Parts<'_>, state: &Arc<State>, stop: &CancellationToken) {
        let Parts { config, registry, store, stream, metrics, schedules } = parts;
        let gates = Gates::default();
        let (outbox, outbox_service) = Outbox::start(stream.clone(), gates.clone());
        self.outbox = Some(outbox.clone());
        self.residents.spawn(async move {
            ("outbox", outbox_service.await.map_or_else(|e| format!(": {e}"), |()| String::new()))
        });
        self.spawn("health monitor", {
            let (state, store, stream, stop) = (Arc::clone(state), store.clone(), stream.clone(), stop.clone());
            async move { api::monitor(&state.health, &store, &stream, stop).await }
        });
        self.spawn("census", {
            let (store, metrics, stop) = (store.clone(), metrics.clone(), stop.clone());
            async move { api::count(&store, &metrics, stop).await }
        });
        let (journal, mut writers) = Keeper::start(store.clone(), metrics.clone());
        self.residents.spawn(async move {
            writers.join_next().await;
            ("journal of attempts", String::new())
        });
        let tools = Tools {
            store: store.clone(),
            stream: stream.clone(),
            outbox,
            wakes: Wakes::default(),
            registry,
            journal: Arc::new(journal),
            metrics: metrics.clone(),
        };
        if config.roles.api {
            self.start_api(&tools, gates, config, state, stop);
        }
        if config.roles.worker {
            let parts = worker::Parts { tools: tools.clone(), settings: settings(config) };
            let (up, stop) = (self.await_role(), stop.clone());
            self.spawn("worker", async move { worker::run(parts, stop, move || _ = up.try_send(())).await });
        }
        if config.roles.scheduler {
            let parts = scheduler::Parts {
                firing: Firing::new(tools, defaults(config), config.limits.payload),
                retention: Retention { completed: config.retention.completed, failed: config.retention.failed },
                retain_fires: config.retention.fires,
                schedules,
            };
            let (up, stop) = (self.await_role(), stop.clone());
            self.spawn("scheduler", async move { scheduler::run(parts, stop, move || _ = up.try_send(())).await });
        }
    }

    fn start_api(&mut self, tools: &Tools, gates: Gates, config: &Config, state: &State, stop: &CancellationToken) {
        self.spawn("gate watch", {
            let (stream, gates, stop) = (tools.stream.clone(), gates.clone(), stop.clone());
            async move { stream.watch_gates(gates, stop).await }
        });
        let (submitter, mut lanes) = Submitter::start(tools.clone(), gates, config.limits.queues);
        self.residents.spawn(async move {
            // The first lane that ends is one too many.
            lanes.join_next().await;
            ("submission", String::new())
        });
        let (lookup, mut lanes) = Lookup::start(tools.store.clone());
        self.residents.spawn(async move {
            lanes.join_next().await;
            ("look-up", String::new())
        });
        let (follow, mut lanes) = Follow::start(tools.store.clone());
        self.residents.spawn(async move {
            lanes.join_next().await;
            ("follow", String::new())
        });
        let moves = MoveFeed::default();
        self.spawn("feed of moves", {
            let (stream, moves, stop) = (tools.stream.clone(), moves.clone(), stop.clone());
            async move { stream.feed_moves(moves, stop).await }
        });
        let waits = Waits::new(api::MAX_WAITS, tools.metrics.waiting_requests.clone());
        self.spawn("watch of awaited tasks", {
            let (waits, store, moves, stop) = (waits.clone(), tools.store.clone(), moves.clone(), stop.clone());
            async move { waits.watch(store, moves, stop).await }
        });
        state.serve(Services {
            tools: tools.clone(),
            submitter,
            lookup,
            desk: Desk::new(tools.clone(), config.worker.lease, stop.clone()),
            firing: Firing::new(tools.clone(), defaults(config), config.limits.payload),
            follow,
            moves,
            waits,
            stop: stop.clone(),
            defaults: defaults(config),
            max_payload: config.limits.payload,
            max_result: config.limits.result,
            bulk: BulkLimits { tasks: config.limits.bulk, body: config.limits.bulk_body },
            retain_keys: config.retention.idempotency,
        });
    }

    fn await_role(&mut self) -> mpsc::Sender<()> {
        self.awaited += 1;
        self.up.clone()
    }

    /// Resolves when every role is up.
    ///
    /// # Errors
    /// When a service ends before that.
    pub(super) async fn up(&mut self) -> Result<(), DaemonError> {
        while self.awaited > 0 {
            tokio::select! {
                Some(()) = self.ups.recv() => self.awaited -= 1,
                ended = first_end(&mut self.services, &mut self.residents) => return Err(ended),
            }
        }
        Ok(())
    }
}

type Ends = JoinSet<(&'static str, String)>;

/// The first service to end.
async fn first_end(services: &mut Ends, residents: &mut Ends) -> DaemonError {
    let ended = tokio::select! {
        Some(ended) = services.join_next() => ended,
        Some(ended) = residents.join_next() => ended,
        else => return DaemonError::ServiceEnded("process", String::new()),
    };
    match ended {
        Ok((name, why)) => DaemonError::ServiceEnded(name, why),
        Err(error) => DaemonError::ServiceEnded("service", format!(": {error}")),
    }
}

impl Running {
    /// Resolves when a service ends by itself: that takes the process down.
    pub(super) async fn ended(&mut self) -> DaemonError {
        first_end(&mut self.services, &mut self.residents).await
    }

    /// After the stop: the listener finishes what is under way, the worker drains, the outbox
    /// sends what waits.
    pub(super) async fn drain(mut self) {
        self.http.stop(true).await;
        while self.services.join_next().await.is_some() {}
        if let Some(outbox) = self.outbox {
            let _ = tokio::time::timeout(FLUSH_LIMIT, outbox.flush()).await;
        }
        self.residents.abort_all();
    }
}

/// The names of the roles, for logs and `/health`.
pub(super) fn role_names(roles: &Roles) -> Vec<&'static str> {
    let named = [(roles.api, "api"), (roles.worker, "worker"), (roles.scheduler, "scheduler")];
    named.into_iter().filter(|(has, _)| *has).map(|(_, name)| name).collect()
}

/// Lays `[tasks.NAME]` over the types' own defaults, and reads the schedules: what of the
/// configuration needs the registry. Every fault at once, each with its key.
pub(super) fn set_up(registry: &mut Registry, config: &Config) -> Result<Vec<ScheduleSpec>, DaemonError> {
    let mut faults = Vec::new();
    let mut calls = Calls::new(config.http.allow_private.clone(), config.limits.result);
    for (name, TaskConfig { defaults, executor, schema, concurrency }) in &config.tasks {
        match executor {
            None => {}
            Some(_) if registry.get(name).is_some() => {
                faults.push(format!("tasks.{name}: this binary has a task type of that name; choose another one"));
                continue;
            }
            // Only a worker starts it: other hosts need not have it.
            Some(Executor::Command(spec)) => {
                match Command::new(spec.clone(), config.limits.result, config.roles.worker) {
                    Ok(handler) => _ = registry.register_handler(name, handler),
                    Err(wrong) => {
                        faults.extend(wrong.into_iter().map(|fault| format!("tasks.{name}.{fault}")));
                        continue;
                    }
                }
            }
            Some(Executor::Http(call)) => match calls.handler(name, call) {
                Ok(handler) => _ = registry.register_handler(name, handler),
                Err(fault) => {
                    faults.push(format!("tasks.{name}.http: {fault}"));
                    continue;
                }
            },
            Some(Executor::Pull) => _ = registry.register_pull(name),
        }
        let TaskDefaults { queue, timeout, max_attempts, backoff, priority } = defaults.clone();
        let over = TypeDefaults { queue: queue.map(Arc::from), priority, timeout, max_attempts, backoff };
        let schema = match schema.as_ref().map(|schema| Schema::new(schema.json.clone())).transpose() {
            Ok(schema) => schema.map(Arc::new),
            Err(why) => {
                faults.push(format!("tasks.{name}.schema: {why}"));
                continue;
            }
        };
        if let Err(unknown) = registry.configure(name, over, schema, *concurrency) {
            faults.push(unknown.to_string());
        }
    }
    let specs = schedules(config, registry, &mut faults);
    if faults.is_empty() { Ok(specs) } else { Err(DaemonError::SetUp(faults.join("\n"))) }
}

fn defaults(config: &Config) -> Defaults {
    let wide = &config.defaults;
    Defaults { max_attempts: wide.max_attempts, timeout: wide.timeout, backoff: wide.backoff }
}

fn settings(config: &Config) -> Settings {
    let worker = &config.worker;
    Settings {
        concurrency: u32::from(worker.concurrency),
        queues: match &worker.queues {
            Queues::All => Served::All,
            Queues::Named(names) => Served::Only(names.iter().map(|name| Arc::from(name.as_str())).collect()),
        },
        lease: worker.lease,
        drain_timeout: worker.drain_timeout,
        sweep_interval: worker.sweep_interval,
        max_result: config.limits.result,
    }
}

/// The configuration's schedules and the built-in heartbeat, unless a schedule has its name.
fn schedules(config: &Config, registry: &Registry, faults: &mut Vec<String>) -> Vec<ScheduleSpec> {
    let mut specs = Vec::new();
    for ScheduleConfig { name, definition } in &config.schedules {
        match Definition::from_json(definition, config.limits.payload) {
            Ok(read) => {
                if let Err(found) = admit(read.task.clone(), registry, &defaults(config), &|_| true) {
                    let fault = |fault: Fault| format!("schedules.{name}.task{}: {}", fault.dotted(), fault.detail);
                    faults.extend(found.into_iter().map(fault));
                }
                specs.push(ScheduleSpec { name: name.as_str().into(), read });
            }
            Err(why) => faults.push(format!("schedules.{name}: {why}")),
        }
    }
    if let Some(expression) = &config.scheduler.heartbeat
        && !specs.iter().any(|spec| &*spec.name == HEARTBEAT)
    {
        let text = serde_json::json!({ "cron": expression, "timezone": "UTC", "task": { "name": HEARTBEAT } });
        match Definition::from_json(&text.to_string(), config.limits.payload) {
            Ok(read) => specs.push(ScheduleSpec { name: HEARTBEAT.into(), read }),
            Err(why) => faults.push(format!("scheduler.heartbeat: {why}")),
        }
    }
    specs
}

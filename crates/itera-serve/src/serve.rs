//! From the start of the server to its end.

use std::{
    net::SocketAddr,
    num::NonZero,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use itera_cli::ExitStatus;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinHandle,
};
use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{
    adapt::{Adapter, learn::Learner},
    app::{self, App},
    args::{EngineArgs, LimitArgs, LogFormat, Role, ServeArgs},
    audit,
    engine::Engine,
    experiments::Experiments,
    limits::Limits,
    listen::Connections,
    metrics::Metrics,
    models::Models,
    options::Settings,
    quality::Quality,
    store::{self, Place, Store, StoreError, Which, now_ms},
    weights::Base,
};

/// How long requests may go on after the server was told to end.
const GRACE: Duration = Duration::from_secs(30);

/// How long learning may take to notice that.
const LEARNING_GRACE: Duration = Duration::from_secs(5);

/// Seconds between looks for answers to forget: too many of them, and too old ones.
const PRUNE_EVERY: u64 = 30;
const EXPIRE_EVERY: u64 = 3600;

/// Seconds between additions to the sums of the hour.
const KEEP_EVERY: u64 = 60;

const DAY_MS: i64 = 24 * 3600 * 1000;

/// Serves until told to end by Ctrl-C or SIGTERM; then what runs is finished.
pub(crate) async fn run(args: ServeArgs) -> anyhow::Result<ExitStatus> {
    start_log(&args)?;
    let is_json = args.log_format == LogFormat::Json;
    match serve(args).await {
        Err(error) if is_json => {
            tracing::error!(error = format!("{error:#}"), "the server could not go on");
            Ok(ExitStatus::CouldNotRun)
        }
        ended => ended,
    }
}

async fn serve(args: ServeArgs) -> anyhow::Result<ExitStatus> {
    let (app, writing) = assemble(Settings::new(args)?).await?;
    let args = &app.settings.args;
    let address = SocketAddr::new(args.host, args.port);
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; give a free port with --port, or 0 for any")
    })?;
    let bound = listener.local_addr()?;
    // Before anybody is told that the server runs, and so may tell it to end.
    let mut told = Told::new()?;
    #[cfg(unix)]
    let hangups = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
    let models = app.models.all().into_iter().map(|model| {
        let variant = model.at_default();
        format!(
            "{} ({}, {})",
            variant.name,
            variant.precision,
            &variant.version[..12]
        )
    });
    let models = models.collect::<Vec<_>>().join(", ");
    tracing::info!("serving {models} on http://{bound}");
    let (end, ending) = watch::channel(false);
    let (close, closing) = watch::channel(false);
    let connections = Connections::new(args.limits.max_connections);
    let routes = app::router(Arc::clone(&app));
    let mut serving = tokio::spawn(Arc::clone(&connections).serve(listener, routes, closing));
    let dividing = app.experiments.start(ending.clone());
    let mut adapting = app.adapter.start(ending);
    let ticking = tokio::spawn(tick(Arc::clone(&app)));
    #[cfg(unix)]
    tokio::spawn(reload(Arc::clone(&app.models), hangups));
    tokio::select! {
        () = told.once() => {}
        failed = first_end(writing, &mut adapting, dividing, ticking, &mut serving) => bail!(failed),
    }
    tracing::info!("ending: finishes what is running");
    app.ending.store(true, Ordering::Relaxed);
    end.send_replace(true);
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(args.limits.drain_seconds)) => {}
        () = told.once() => {}
    }
    close.send_replace(true);
    tokio::select! {
        _ = &mut serving => {}
        // A client that never reads its answer must not hold the server for ever.
        () = tokio::time::sleep(GRACE) => {
            tracing::warn!("some requests were not finished in time and are cut off");
        }
        () = told.once() => tracing::warn!("told again: ends at once"),
    }
    if tokio::time::timeout(LEARNING_GRACE, adapting)
        .await
        .is_err()
    {
        tracing::warn!("learning was not stopped in time; it counts as interrupted");
    }
    if let Some(store) = &app.store {
        store.flush().await;
        if let Err(error) = app::keep(&app).await {
            tracing::warn!(%error, "the last minute is missing in the sums of the hour");
        }
    }
    Ok(ExitStatus::Done)
}

/// Waits until one of the tasks that the server needs ends, which none does by itself; says which.
async fn first_end(
    writing: Option<JoinHandle<()>>,
    adapting: &mut JoinHandle<()>,
    dividing: JoinHandle<()>,
    ticking: JoinHandle<()>,
    serving: &mut JoinHandle<()>,
) -> &'static str {
    let writing = async {
        match writing {
            Some(task) => drop(task.await),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = writing => "the task that writes to the database has failed",
        _ = adapting => "the task that follows versions has failed",
        _ = dividing => "the task that follows experiments has failed",
        _ = ticking => "the task that keeps house has failed",
        _ = serving => "the task that takes connections has failed",
    }
}

/// Opens the database, loads the weights and starts the threads; gives the task that writes, too.
pub(crate) async fn assemble(
    settings: Settings,
) -> anyhow::Result<(Arc<App>, Option<JoinHandle<()>>)> {
    let args = &settings.args;
    let is_bound = !store::is_none(&args.database.database);
    let models = Models::load(&args.checkpoint, args.precision, is_bound)?;
    let first = models.first();
    let (store, writing, learner) = stored(args, &first.base).await?;
    let quality = Quality::default();
    if let Some(store) = &store
        && let Some(reference) = store::limited(store.reference()).await?
    {
        quality.resume(reference);
    }
    let metrics = Arc::new(Metrics::new());
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let EngineArgs {
        workers,
        slots,
        queue,
        state_cache_mb,
        session_mb,
        ..
    } = args.engine;
    let workers = workers.unwrap_or(cores);
    let engine = Engine::start(workers, slots, queue, state_cache_mb * 1_000_000, &metrics)?;
    let adapter = Adapter::new(&args.adapt, store.clone(), first, learner);
    if let Err(error) = adapter.follow().await {
        if error.is::<StoreError>() {
            return Err(error.context(cannot_use(&args.database.database)));
        }
        tracing::error!(
            error = format!("{error:#}"),
            "serves the checkpoint and not the active version"
        );
    }
    let (models, poll) = (Arc::new(models), args.adapt.poll_ms);
    let (of, by) = (Arc::clone(&models), Arc::clone(&adapter));
    let experiments = Experiments::new(store.clone(), of, by, poll);
    if let Err(error) = experiments.follow().await {
        tracing::error!(error = format!("{error:#}"), "divides no requests");
    }
    let app = Arc::new(App {
        models,
        experiments,
        engine,
        store,
        metrics,
        quality: Arc::new(quality),
        adapter,
        limits: Limits::new(NonZero::new(args.limits.rate_limit)),
        scoring: Arc::new(Semaphore::new(workers)),
        sessions: Arc::new(app::Sessions::new(session_mb * 1_000_000)),
        settings,
        ending: false.into(),
        counts: app::Cached::default(),
        learnt: app::Cached::default(),
        kept: tokio::sync::Mutex::default(),
    });
    Ok((app, writing))
}

type Stored = (Option<Store>, Option<JoinHandle<()>>, Option<Learner>);

/// The database with the task that writes to it, and what learns from it. None of them with `--database none`.
async fn stored(args: &ServeArgs, base: &Base) -> anyhow::Result<Stored> {
    let place = &args.database.database;
    if store::is_none(place) {
        return Ok((None, None, None));
    }
    let learner = if args.adapt.role == Role::Auto {
        Learner::load(&args.adapt, base)?
    } else {
        None
    };
    if learner.is_none() && args.adapt.role == Role::Auto {
        tracing::info!("this build does not learn; it follows the versions of the database");
    }
    let (store, writing) = open(place).await?;
    store
        .bind(&base.name, &base.weights.version)
        .await
        .with_context(|| cannot_use(place))?;
    Ok((Some(store), Some(writing), learner))
}

/// Opens a database, with what to do if that fails.
pub(crate) async fn open(place: &str) -> anyhow::Result<(Store, JoinHandle<()>)> {
    if place == ":memory:" {
        bail!(
            "`--database :memory:` would be gone with the server; give `none` to store nothing, or a file"
        );
    }
    let opened = Store::open(Place::new(place)).await;
    opened.with_context(|| cannot_use(place))
}

/// A database without the password in its URL.
pub(crate) fn cannot_use(place: &str) -> String {
    if !store::is_postgres(place) {
        return format!(
            "cannot use the database `{place}`; give a file that can be written with --database"
        );
    }
    // It may also stand among the parameters.
    let address = place.split('?').next().unwrap_or_default();
    let shown = match (address.split_once("://"), address.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://...@{host}"),
        // A password with a `?` that is not escaped.
        _ if place.contains('@') => "with that URL".to_owned(),
        _ => address.to_owned(),
    };
    format!("cannot use the database {shown}; check that it runs, and name and password")
}

/// Keeps house: rates once a second, keys that have changed, answers to forget.
async fn tick(app: Arc<App>) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    let mut last_error = String::new();
    for second in 1_u64.. {
        every.tick().await;
        app.metrics.tick();
        let error = app.settings.keys.reload().err();
        let error = error.map_or_else(String::new, |error| format!("{error:#}"));
        if !error.is_empty() && error != last_error {
            tracing::error!(error, "the former keys hold");
        }
        last_error = error;
        if second.is_multiple_of(PRUNE_EVERY) {
            app.limits.forget_idle();
        }
        if second.is_multiple_of(KEEP_EVERY)
            && let Err(error) = app::keep(&app).await
        {
            tracing::warn!(%error, "cannot add to the sums of the hour; tries again in a minute");
        }
        if let Some(store) = &app.store
            && let Err(error) = forget(store, &app.settings.args.limits, second).await
        {
            tracing::warn!(%error, "cannot forget old answers");
        }
    }
}

/// Forgets answers that are too many or too old, now and then.
async fn forget(store: &Store, limits: &LimitArgs, second: u64) -> Result<(), StoreError> {
    if second.is_multiple_of(PRUNE_EVERY) {
        store::limited(store.prune(limits.keep_answers)).await?;
    }
    if limits.keep_days > 0 && second % EXPIRE_EVERY == 1 {
        let before = now_ms() - i64::from(limits.keep_days) * DAY_MS;
        store::limited(store.forget(Which::Before(before))).await?;
    }
    Ok(())
}

/// Reads the checkpoints again at each SIGHUP.
#[cfg(unix)]
async fn reload(models: Arc<Models>, mut hangups: tokio::signal::unix::Signal) {
    while hangups.recv().await.is_some() {
        let models = Arc::clone(&models);
        if let Err(error) = tokio::task::spawn_blocking(move || models.reload()).await {
            tracing::error!(%error, "cannot read the checkpoints again");
        }
    }
}

/// Ctrl-C, or on Unix SIGTERM, as often as they come.
struct Told {
    #[cfg(unix)]
    signals: [tokio::signal::unix::Signal; 2],
}

impl Told {
    fn new() -> anyhow::Result<Self> {
        #[cfg(unix)]
        let signals = {
            use tokio::signal::unix::{SignalKind, signal};
            let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
            let [interrupted, terminated] = kinds.map(signal);
            [interrupted?, terminated?]
        };
        Ok(Self {
            #[cfg(unix)]
            signals,
        })
    }

    /// Waits for the next.
    async fn once(&mut self) {
        #[cfg(unix)]
        {
            let [interrupted, terminated] = &mut self.signals;
            tokio::select! {
                _ = interrupted.recv() => {}
                _ = terminated.recv() => {}
            }
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Starts the log on standard error.
fn start_log(args: &ServeArgs) -> anyhow::Result<()> {
    let audit = args.audit_log.as_deref().map(audit::layer).transpose()?;
    let audits = match &audit {
        Some(_) => LevelFilter::OFF,
        None => LevelFilter::INFO,
    };
    // Statements of the database are its own affair.
    let filter = Targets::new()
        .with_default(tracing::Level::WARN)
        .with_target("itera_serve", args.log_level)
        .with_target(audit::TARGET, audits)
        .with_target("sqlx", LevelFilter::OFF);
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let layer = match args.log_format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .with(audit)
        .try_init()
        .context("cannot start the log")?;
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        for place in [
            "postgres://u:s3cret@db/itera",
            "postgresql://db/itera?user=app&password=s3cret",
            "postgres://u@db/itera?password=s3cret",
            "postgres://u:s3c?ret@db/itera",
            "postgres://u:s3cret?@db/itera",
        ] {
            let said = cannot_use(place);
            assert!(!said.contains("s3c"), "{said}");
        }
        assert!(
            cannot_use("postgres://u:s3cret@db:5432/itera")
                .contains("postgres://...@db:5432/itera")
        );
    }
}

//! From the start of the server to its end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use itera_cli::{ExitStatus, note, warn};
use itera_core::models::Weights as Origin;
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
};
use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{
    adapt::{Adapter, Parts},
    app::{self, App},
    args::{LogFormat, Role, ServeArgs},
    engine::Engine,
    metrics::Metrics,
    options::Options,
    store::{self, Store},
    weights::Base,
};

/// How long requests may go on after the server was told to end.
const GRACE: Duration = Duration::from_secs(30);

/// Time between looks for answers to forget.
const PRUNE_EVERY: Duration = Duration::from_secs(30);

/// Serves until told to end by Ctrl-C or SIGTERM; then what runs is finished.
pub(crate) async fn run(args: ServeArgs) -> anyhow::Result<ExitStatus> {
    let options = Options::new(&args)?;
    start_log(&args)?;
    let app = assemble(&args, &options).await?;
    let address = options.address;
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; give a free port with --port, or 0 for any")
    })?;
    let bound = listener.local_addr()?;
    note(format!(
        "serving {} ({}, {}) on http://{bound}",
        app.base.name,
        app.base.default,
        &app.engine.weights().version[..12]
    ));
    if !cfg!(feature = "adapt") && args.adapt.role == Role::Auto {
        note("this build does not learn; it follows the versions of the database");
    }
    let stop = Arc::new(Notify::new());
    let adapting = app.adapter.start(Arc::clone(&stop));
    let ticking = tokio::spawn(tick(Arc::clone(&app), options.keep_answers));

    let (ended, mut told) = watch::channel(());
    let routes = app::router(Arc::clone(&app)).into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, routes).with_graceful_shutdown(async move {
        until_told().await;
        note("ending: finishes what is running");
        let _ = ended.send(());
    });
    tokio::select! {
        served = serving.into_future() => served.context("the server failed")?,
        // A client that never reads its answer must not hold the server for ever.
        () = async {
            let _ = told.changed().await;
            tokio::time::sleep(GRACE).await;
        } => warn("some requests were not finished in time and are cut off"),
    }
    stop.notify_one();
    let _ = adapting.await;
    ticking.abort();
    app.store.flush().await;
    Ok(ExitStatus::Done)
}

/// Opens the database, loads the weights and starts the threads.
pub(crate) async fn assemble(args: &ServeArgs, options: &Options) -> anyhow::Result<Arc<App>> {
    let base = Arc::new(Base::load(&args.checkpoint, args.precision)?);
    if base.origin == Origin::RoundedInMemory {
        warn(format!(
            "{} has no file at {}; its weights were rounded in memory",
            base.name, base.default
        ));
    }
    #[cfg(feature = "adapt")]
    let learner = learner(args, &base)?;
    #[cfg(not(feature = "adapt"))]
    refuse_learning(args)?;
    let place = &args.database.database;
    let store = open(place).await?;
    store
        .bind(&base.name, &base.weights.version)
        .await
        .with_context(|| cannot_use(place))?;
    let metrics = Arc::new(Metrics::new());
    let engine = Engine::start(
        Arc::clone(&base.weights),
        options.workers,
        options.slots,
        options.settings.queue,
        &metrics,
    )?;
    let engine = Arc::new(engine);
    let adapter = Adapter::new(Parts {
        role: args.adapt.role,
        adapt_after: args.adapt.adapt_after,
        #[cfg(feature = "adapt")]
        keep_versions: args.adapt.keep_versions,
        poll: options.poll,
        store: store.clone(),
        engine: Arc::clone(&engine),
        base: Arc::clone(&base),
        #[cfg(feature = "adapt")]
        learner,
    });
    adapter.follow().await.with_context(|| cannot_use(place))?;
    Ok(Arc::new(App {
        engine,
        store,
        metrics,
        base,
        adapter,
        settings: options.settings.clone(),
    }))
}

#[cfg(feature = "adapt")]
fn learner(args: &ServeArgs, base: &Base) -> anyhow::Result<crate::adapt::learn::Learner> {
    use crate::adapt::{
        learn::{Learner, settings},
        texts::Texts,
    };
    let adapt = &args.adapt;
    let config = settings(adapt.adapt_settings.as_deref(), base.default)?;
    let checkpoint = &base.weights.checkpoint;
    let texts = Texts::load(checkpoint, adapt.guard.as_deref(), adapt.replay.as_deref())?;
    ensure!(
        adapt.adapt_records > 0,
        "`--adapt-records` is 0, expected at least 1"
    );
    Ok(Learner::new(config, texts, adapt.adapt_records))
}

/// Says so where a build that does not learn is told how to.
#[cfg(not(feature = "adapt"))]
fn refuse_learning(args: &ServeArgs) -> anyhow::Result<()> {
    let adapt = &args.adapt;
    let given = adapt.adapt_settings.is_some() || adapt.guard.is_some() || adapt.replay.is_some();
    ensure!(
        !given,
        "this build does not learn, so that --adapt-settings, --guard and --replay mean nothing; leave \
         them out, or build itera-serve with its default features"
    );
    Ok(())
}

/// Opens a database, with what to do if that fails.
pub(crate) async fn open(place: &str) -> anyhow::Result<Store> {
    Store::open(place).await.with_context(|| cannot_use(place))
}

/// A database without the password in its URL.
fn cannot_use(place: &str) -> String {
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

/// Samples the rates once a second, and forgets old answers now and then.
async fn tick(app: Arc<App>, keep_answers: u32) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    let prune_every = PRUNE_EVERY.as_secs();
    for second in 1_u64.. {
        every.tick().await;
        app.metrics.tick();
        if second.is_multiple_of(prune_every)
            && let Err(error) = app.store.prune(keep_answers).await
        {
            tracing::warn!(%error, "cannot forget old answers");
        }
    }
}

/// Waits for Ctrl-C, or on Unix for SIGTERM.
async fn until_told() {
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminated = async {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        () = interrupted => {}
        () = terminated => {}
    }
}

/// Starts the log on standard error.
fn start_log(args: &ServeArgs) -> anyhow::Result<()> {
    // Statements of the database are its own affair.
    let filter = Targets::new()
        .with_default(tracing::Level::WARN)
        .with_target("itera_serve", args.log_level)
        .with_target("sqlx", LevelFilter::OFF);
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let layer = match args.log_format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()
        .context("cannot start the log")
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

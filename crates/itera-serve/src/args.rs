//! The command line as typed; [`options`](crate::options) checks it.

use std::{net::IpAddr, ops::RangeInclusive, path::PathBuf};

use clap::{Parser, Subcommand, ValueEnum, builder::RangedU64ValueParser, value_parser};
use ipnet::IpNet;
use itera_core::checkpoint::Precision;

use crate::client::parse_network;

/// Beyond these a value is a slip of the finger.
const BYTES: u64 = 64 << 20;
const SECONDS: u64 = 3600;

/// A number in a range.
fn number(range: RangeInclusive<u64>) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(range)
}

/// What clouds tell a container to listen on, or 8000.
fn default_port() -> u16 {
    let told = std::env::var("PORT").ok();
    told.and_then(|port| port.parse().ok()).unwrap_or(8000)
}

fn watts(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(watts) if (0.0..=1000.0).contains(&watts) => Ok(watts),
        _ => Err("expected a number from 0 to 1000".to_owned()),
    }
}

/// Serve a model over HTTP, log what it writes, and let it learn from feedback under guard.
///
/// Without arguments: micro-tinystories at 8 bits on port 8000 of 127.0.0.1, feedback in
/// itera-serve.db in the current directory. Every option has an environment variable; the option wins.
#[derive(Debug, Parser)]
#[command(name = "itera-serve", version, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

/// What to do other than serving.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take feedback out of a database, put it in, or delete it.
    #[command(subcommand)]
    Feedback(FeedbackCommand),
    /// List the versions of the weights, take one out of a database, or put one in.
    #[command(subcommand)]
    Versions(VersionsCommand),
    /// Write a copy of the database to a new file, while servers use it.
    Backup {
        #[command(flatten)]
        database: DatabaseArgs,
        /// The file.
        #[arg(value_name = "FILE")]
        output: PathBuf,
    },
    /// Move a database to another checkpoint. Feedback and journal stay; what was learnt goes, since it is not
    /// part of the new weights.
    Rebase {
        #[command(flatten)]
        database: DatabaseArgs,
        /// Checkpoint by name or path; of several the first, which is the one that learns.
        #[arg(
            long,
            env = "ITERA_CHECKPOINT",
            value_name = "NAME|PATH",
            value_delimiter = ',',
            default_value = "micro-tinystories"
        )]
        checkpoint: Vec<String>,
    },
    /// Print the OpenAPI document.
    Openapi,
    /// Ask a server on this machine whether it runs; status 1 if not. For images without a shell.
    Health {
        /// Its address; for 0.0.0.0 and :: that of loopback is taken.
        #[arg(
            long,
            env = "ITERA_HOST",
            value_name = "ADDRESS",
            default_value = "127.0.0.1"
        )]
        host: IpAddr,
        /// Its port.
        #[arg(long, env = "ITERA_PORT", value_name = "PORT", default_value_t = default_port())]
        port: u16,
    },
}

/// Where feedback goes.
#[derive(Debug, Subcommand)]
pub(crate) enum FeedbackCommand {
    /// Write all feedback as JSON lines.
    Export {
        #[command(flatten)]
        database: DatabaseArgs,
        /// File for the lines [default: standard output].
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        form: ExportForm,
        /// With --accepted: file for the texts of every tenth visitor, which are then not among the others.
        #[arg(long, value_name = "FILE", requires = "accepted")]
        held_out: Option<PathBuf>,
    },
    /// Read feedback: JSON lines as exported, or the prototype's array. What is there already is kept.
    Import {
        #[command(flatten)]
        database: DatabaseArgs,
        /// The file; `-` is standard input.
        #[arg(value_name = "FILE")]
        input: PathBuf,
    },
    /// Delete answers with their prompts and feedback. What has been learnt from them stays learnt.
    Delete {
        #[command(flatten)]
        database: DatabaseArgs,
        #[command(flatten)]
        which: DeleteArgs,
    },
}

/// Another form than JSON lines.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(multiple = false)]
pub(crate) struct ExportForm {
    /// The prototype's layout: one JSON array of id, timestamp, input, output, rating,
    /// correctness, metadata.
    #[arg(long)]
    pub(crate) prototype: bool,
    /// A training text: prompts with what was accepted or put in place of the answer, a document each, of the records
    /// that an adaptation would learn from. What several have accepted stands once.
    #[arg(long)]
    pub(crate) accepted: bool,
}

/// Versions of the weights in a database.
#[derive(Debug, Subcommand)]
pub(crate) enum VersionsCommand {
    /// List them, newest first.
    List {
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Write one as a checkpoint of floats.
    Export {
        #[command(flatten)]
        database: DatabaseArgs,
        /// `active`, or the first digits of a version.
        #[arg(value_name = "VERSION")]
        version: String,
        /// The file.
        #[arg(value_name = "FILE.safetensors")]
        output: PathBuf,
    },
    /// Serve a checkpoint of floats from now on, by every server of the database. `POST /adapt/rollback` goes back.
    Import {
        #[command(flatten)]
        database: DatabaseArgs,
        /// The checkpoint that the servers are started with, by name or path: the new one has its sizes and its
        /// tokenizer.
        #[arg(
            long,
            env = "ITERA_CHECKPOINT",
            value_name = "NAME|PATH",
            value_delimiter = ',',
            default_value = "micro-tinystories"
        )]
        checkpoint: Vec<String>,
        /// Record of the retraining that made it, for the journal; of a checkpoint that its gate has refused, nothing
        /// is imported.
        #[arg(long, value_name = "FILE.json")]
        record: Option<PathBuf>,
        /// File of texts that must not become likely, one a line, with a prompt and a tab before it where it follows one:
        /// a version that makes a token of one over twice as likely as the checkpoint of the start is refused (status 1).
        #[arg(long, env = "ITERA_ADAPT_PROBES", value_name = "FILE")]
        adapt_probes: Option<PathBuf>,
        /// Serve it to 5 and then to 25 % of the traffic before all get it, as servers with --canary do with what they
        /// have learnt.
        #[arg(long, env = "ITERA_CANARY")]
        canary: bool,
        /// The file.
        #[arg(value_name = "FILE.safetensors")]
        input: PathBuf,
    },
}

/// Which answers.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct DeleteArgs {
    /// Those written before a time, as RFC 3339: 2026-01-31T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub(crate) before: Option<jiff::Timestamp>,
    /// Those of a user, by the name that requests gave.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
}

/// Which database.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DatabaseArgs {
    /// Where feedback and weights are kept: a file (SQLite), the postgres URL of a PostgreSQL database, or
    /// `none` for a server that stores nothing.
    #[arg(
        long,
        env = "ITERA_DATABASE",
        value_name = "FILE|URL|none",
        default_value = "itera-serve.db",
        hide_env_values = true
    )]
    pub(crate) database: String,
}

/// How to serve.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Checkpoint by name or path; may be repeated, or several with commas between. Requests name one of them as `model`; the first is that of
    /// requests that name none, and the only one that learns. SIGHUP reads all again.
    #[arg(
        long,
        env = "ITERA_CHECKPOINT",
        value_name = "NAME|PATH",
        value_delimiter = ',',
        default_value = "micro-tinystories"
    )]
    pub(crate) checkpoint: Vec<String>,
    /// Precision of requests that name none: fp32, int8 or int4 [default: int8, or what the file has].
    #[arg(long, env = "ITERA_PRECISION")]
    pub(crate) precision: Option<Precision>,
    /// Address to listen on; any other than loopback needs --token or --keys.
    #[arg(
        long,
        env = "ITERA_HOST",
        value_name = "ADDRESS",
        default_value = "127.0.0.1"
    )]
    pub(crate) host: IpAddr,
    /// Port to listen on; 0 takes a free one. Where a platform sets the variable PORT, that is the default.
    #[arg(long, env = "ITERA_PORT", value_name = "PORT", default_value_t = default_port())]
    pub(crate) port: u16,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    #[command(flatten)]
    pub(crate) adapt: AdaptArgs,
    /// Form of the log on standard error.
    #[arg(long, env = "ITERA_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// File for the audit log: JSON lines of who rated, adapted, rolled back and deleted [default: the log].
    #[arg(long, env = "ITERA_AUDIT_LOG", value_name = "FILE")]
    pub(crate) audit_log: Option<PathBuf>,
    /// error, warn, info or debug; debug logs every request.
    #[arg(
        long,
        env = "ITERA_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info"
    )]
    pub(crate) log_level: tracing::Level,
}

/// How the work is divided.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct EngineArgs {
    /// Threads that generate [default: one per core].
    #[arg(long, env = "ITERA_WORKERS", value_name = "N", value_parser = number(1..=256))]
    pub(crate) workers: Option<usize>,
    /// Requests that each of these threads writes side by side.
    #[arg(
        long,
        env = "ITERA_SLOTS",
        value_name = "N",
        default_value_t = 32,
        value_parser = number(1..=1024)
    )]
    pub(crate) slots: usize,
    /// Requests that may wait for a slot; beyond them the answer is 503 with Retry-After.
    #[arg(
        long,
        env = "ITERA_QUEUE",
        value_name = "N",
        default_value_t = 256,
        value_parser = number(0..=100_000)
    )]
    pub(crate) queue: usize,
    /// Megabytes for what is remembered of prompts, so that one that begins like an earlier one of the same client is
    /// read from there on; 0 for none.
    #[arg(
        long,
        env = "ITERA_STATE_CACHE_MB",
        value_name = "N",
        default_value_t = 64,
        value_parser = number(0..=100_000)
    )]
    pub(crate) state_cache_mb: usize,
    /// Megabytes for sessions, each of which takes 51 kB at most with `micro-tinystories`; of the client with most of them, the one that was not used for the longest makes room; 0 for none.
    #[arg(
        long,
        env = "ITERA_SESSION_MB",
        value_name = "N",
        default_value_t = 64,
        value_parser = number(0..=100_000)
    )]
    pub(crate) session_mb: usize,
    /// Watts that a busy core of this machine adds, of a meter or of `itera-power`: answers then tell an estimate of
    /// their energy, which is that times their share of a core's time.
    #[arg(
        long,
        env = "ITERA_WATTS_PER_CORE",
        value_name = "W",
        value_parser = watts
    )]
    pub(crate) watts_per_core: Option<f64>,
}

/// What a request may cost.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LimitArgs {
    /// Requests per minute for each client that generate or change something; 0 for no limit. One with several
    /// choices or long texts counts as several.
    #[arg(
        long,
        env = "ITERA_RATE_LIMIT",
        value_name = "N",
        default_value_t = 100
    )]
    pub(crate) rate_limit: u32,
    /// Connections at one time; beyond them the client with most of them loses one.
    #[arg(
        long,
        env = "ITERA_MAX_CONNECTIONS",
        value_name = "N",
        default_value_t = 768,
        value_parser = number(1..=100_000)
    )]
    pub(crate) max_connections: usize,
    /// Addresses or networks of proxies whose X-Forwarded-For is trusted; may be repeated.
    #[arg(
        long,
        env = "ITERA_TRUSTED_PROXY",
        value_name = "ADDRESS|CIDR",
        value_delimiter = ',',
        value_parser = parse_network
    )]
    pub(crate) trusted_proxy: Vec<IpNet>,
    /// Largest body of a request in bytes.
    #[arg(
        long,
        env = "ITERA_MAX_BODY_BYTES",
        value_name = "N",
        default_value_t = 1 << 20,
        value_parser = number(1024..=BYTES)
    )]
    pub(crate) max_body_bytes: usize,
    /// Longest prompt in bytes.
    #[arg(
        long,
        env = "ITERA_MAX_PROMPT_BYTES",
        value_name = "N",
        default_value_t = 16_384,
        value_parser = number(1..=BYTES)
    )]
    pub(crate) max_prompt_bytes: usize,
    /// Most tokens of an answer.
    #[arg(
        long,
        env = "ITERA_MAX_TOKENS",
        value_name = "N",
        default_value_t = 512,
        value_parser = clap::value_parser!(u64).range(1..=16_384)
    )]
    pub(crate) max_tokens: u64,
    /// Seconds after which a request that is not an adaptation is given up; a stream has ten times as long.
    #[arg(
        long,
        env = "ITERA_TIMEOUT_SECONDS",
        value_name = "S",
        default_value_t = 30,
        value_parser = value_parser!(u64).range(1..=SECONDS)
    )]
    pub(crate) timeout_seconds: u64,
    /// Seconds from the word to end until connections are no longer taken, while /ready says so: as long as a
    /// load balancer needs to notice.
    #[arg(
        long,
        env = "ITERA_DRAIN_SECONDS",
        value_name = "S",
        default_value_t = 0,
        value_parser = value_parser!(u64).range(0..=SECONDS)
    )]
    pub(crate) drain_seconds: u64,
    /// Answers kept for feedback; older ones without feedback are forgotten.
    #[arg(
        long,
        env = "ITERA_KEEP_ANSWERS",
        value_name = "N",
        default_value_t = 100_000
    )]
    pub(crate) keep_answers: u32,
    /// Days after which answers are forgotten with their feedback; 0 for never.
    #[arg(long, env = "ITERA_KEEP_DAYS", value_name = "N", default_value_t = 0)]
    pub(crate) keep_days: u32,
}

/// Who may do what.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AccessArgs {
    /// Bearer token of the operator: the key that may do everything. Without it or --keys, all that the server
    /// does is open to this machine.
    #[arg(
        long,
        env = "ITERA_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    pub(crate) token: Option<Secret>,
    /// File with that token, for secrets that are mounted as files.
    #[arg(
        long,
        env = "ITERA_TOKEN_FILE",
        value_name = "FILE",
        conflicts_with = "token"
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// JSON file of keys with their rights and limits, read again when it changes; docs/serving.md has its form.
    #[arg(long, env = "ITERA_KEYS", value_name = "FILE")]
    pub(crate) keys: Option<PathBuf>,
    /// Ask for a key on every request but /health, /ready, the page and feedback on an answer of one's own.
    #[arg(long, env = "ITERA_TOKEN_FOR_ALL")]
    pub(crate) token_for_all: bool,
    /// Web pages of this origin may use the server; may be repeated [default: only its own].
    #[arg(
        long,
        env = "ITERA_CORS_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    pub(crate) cors_origin: Vec<String>,
    /// Web pages of every origin may use the server; without a key they may not change the model.
    #[arg(long, env = "ITERA_CORS_ANY", conflicts_with = "cors_origin")]
    pub(crate) cors_any: bool,
    /// Names of this server beside localhost that requests may be addressed to; may be repeated. Without
    /// a token, others are refused, so that no web page reaches the server through a name of its own.
    #[arg(
        long,
        env = "ITERA_ALLOWED_HOST",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub(crate) allowed_host: Vec<String>,
}

/// A text that is shown to nobody.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) String);

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("...")
    }
}

/// Whether and how the model learns.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AdaptArgs {
    /// auto: learn if no other server of the database does; follower: only follow; off: keep the
    /// version that is active at the start.
    #[arg(long, env = "ITERA_ROLE", default_value = "auto")]
    pub(crate) role: Role,
    /// New negative records that trigger an adaptation; 0 for none but by hand.
    #[arg(
        long,
        env = "ITERA_ADAPT_AFTER",
        value_name = "N",
        default_value_t = 50
    )]
    pub(crate) adapt_after: u32,
    /// Settings of the adaptation as JSON, for those that differ from the defaults: see
    /// `GET /adapt/status` for their names.
    #[arg(long, env = "ITERA_ADAPT_SETTINGS", value_name = "JSON")]
    pub(crate) adapt_settings: Option<String>,
    /// Text that no feedback touches: an adaptation that makes it worse by over 1 % is refused
    /// [default: half of a small text in the manner of the model's own].
    #[arg(long, env = "ITERA_GUARD", value_name = "NAME|PATH")]
    pub(crate) guard: Option<String>,
    /// Text that is trained on beside the feedback, so that the model forgets less [default: the other
    /// half].
    #[arg(long, env = "ITERA_REPLAY", value_name = "NAME|PATH")]
    pub(crate) replay: Option<String>,
    /// Serve what is learnt to 5 and then to 25 % of the traffic before all get it, each time until it is shown to be
    /// not worse than the version before; if it is worse, slow or failing, nobody gets it any more.
    #[arg(long, env = "ITERA_CANARY")]
    pub(crate) canary: bool,
    /// File of texts that must not become likely, one a line, with a prompt and a tab before it where it follows one:
    /// an adaptation that makes a token of one over twice as likely is refused.
    #[arg(long, env = "ITERA_ADAPT_PROBES", value_name = "FILE")]
    pub(crate) adapt_probes: Option<PathBuf>,
    /// Serve what was learnt only after an operator has approved it: POST /adapt/{id}/approve; with --canary, to 5 % of
    /// the traffic then.
    #[arg(long, env = "ITERA_ADAPT_APPROVE")]
    pub(crate) adapt_approve: bool,
    /// Most feedback records in one adaptation, the newest first.
    #[arg(
        long,
        env = "ITERA_ADAPT_RECORDS",
        value_name = "N",
        default_value_t = 500
    )]
    pub(crate) adapt_records: u32,
    /// Versions that are kept beside the first and the active one.
    #[arg(
        long,
        env = "ITERA_KEEP_VERSIONS",
        value_name = "N",
        default_value_t = 50
    )]
    pub(crate) keep_versions: u32,
    /// Milliseconds between looks at the database for a new version or new feedback; at most a third of the lease,
    /// 3333, for a server that learns.
    #[arg(
        long,
        env = "ITERA_POLL_MS",
        value_name = "MS",
        default_value_t = 500,
        value_parser = value_parser!(u64).range(10..=60_000)
    )]
    pub(crate) poll_ms: u64,
}

/// Whether this server makes new versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Learns while it holds the lease in the database.
    Auto,
    /// Never learns, serves what others have learnt.
    Follower,
    /// Neither learns nor follows.
    Off,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object per line.
    Json,
}

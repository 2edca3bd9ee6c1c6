//! What is done to a database while no server, or another process, uses it: feedback out and in as JSON lines or the
//! prototype's JSON array, deletion, copies, another checkpoint, and versions.

pub(crate) mod accepted;
pub(crate) mod versions;

use std::{
    fs,
    io::{Read as _, stdin},
    path::Path,
};

use anyhow::{Context as _, bail, ensure};
use itera_cli::{ExitStatus, note, print};
use itera_core::files::write_atomic;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    args::{ExportForm, FeedbackCommand},
    serve::{cannot_use, open},
    store::{Answer, Feedback, Forgotten, Place, Rated, Source, Store, StoreError, Which, rfc3339},
    weights::Base,
};

/// Records read at a time.
const PAGE: u32 = 500;

/// A line of an export. An import needs the first four, and a verdict.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// The prototype's name for it is `id`.
    #[serde(alias = "id")]
    feedback_id: String,
    timestamp: String,
    #[serde(alias = "input")]
    input_text: String,
    #[serde(alias = "output")]
    output_text: String,
    user_rating: Option<i64>,
    correctness: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correction: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comments: Option<String>,
    /// Salted digest of who said so, and most records of theirs that an adaptation learns from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_records: Option<i64>,
    /// Whether an operator has set it aside.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    excluded: bool,
    /// Whether the model ended the text itself.
    #[serde(default)]
    ended: bool,
    #[serde(default)]
    tokens_generated: usize,
    #[serde(default)]
    latency_ms: f64,
    #[serde(default)]
    model_variant: String,
    #[serde(default)]
    weights_version: String,
    #[serde(default)]
    answered_at: Option<String>,
    /// Temperature, seed and so on; the prototype's `metadata`.
    #[serde(default, alias = "metadata")]
    parameters: Map<String, Value>,
}

/// A record in the prototype's layout.
#[derive(Debug, Serialize)]
struct PrototypeRecord {
    id: String,
    timestamp: String,
    input: String,
    output: String,
    user_rating: Option<i64>,
    correctness: Option<bool>,
    metadata: Map<String, Value>,
}

pub(crate) async fn run(command: FeedbackCommand) -> anyhow::Result<ExitStatus> {
    match command {
        FeedbackCommand::Export {
            database,
            output,
            form,
            held_out,
        } => {
            let store = open_existing(&database.database).await?;
            let text = if form.accepted {
                let [text, others] = accepted::texts(&store, held_out.is_some()).await?;
                if let Some(path) = held_out {
                    write_atomic(&path, others.as_bytes())?;
                }
                text
            } else {
                export(&store, form).await?
            };
            match output {
                Some(path) => {
                    write_atomic(&path, text.as_bytes())?;
                    note(format!("wrote {}", path.display()));
                }
                None => print(text)?,
            }
        }
        FeedbackCommand::Import { database, input } => {
            let lines = read(&input)?;
            let store = open(&database.database).await?.0;
            let (total, new) = (lines.len(), store.import(&lines).await?);
            note(format!(
                "imported {new} records; {} were there already",
                total - new
            ));
        }
        FeedbackCommand::Delete { database, which } => {
            let place = &database.database;
            open_existing(place).await?;
            let store = open(place).await?.0;
            let which = match (which.before, which.user) {
                (Some(time), _) => Which::Before(time.as_millisecond()),
                (None, user) => Which::User(user.unwrap_or_default()),
            };
            let Forgotten { answers, feedback } = store.forget(which).await?;
            note(format!(
                "answers deleted: {answers}; feedback deleted: {feedback}"
            ));
        }
    }
    Ok(ExitStatus::Done)
}

/// Writes a copy of a database.
pub(crate) async fn backup(place: &str, output: &Path) -> anyhow::Result<ExitStatus> {
    let store = open_existing(place).await?;
    let copied = store.backup(output).await;
    copied.with_context(|| format!("cannot copy the database `{place}`"))?;
    note(format!("wrote {}", output.display()));
    Ok(ExitStatus::Done)
}

/// Moves a database to another checkpoint.
pub(crate) async fn rebase(place: &str, checkpoint: &str) -> anyhow::Result<ExitStatus> {
    let base = Base::load(checkpoint, None)?;
    open_existing(place).await?;
    let store = open(place).await?.0;
    let version = &base.weights.version;
    let rebased = store.rebase(&base.name, version).await;
    let former = rebased.with_context(|| format!("cannot move the database `{place}`"))?;
    note(match former {
        Some(former) => format!(
            "moved from {} to {} ({})",
            &former[..12],
            base.name,
            &version[..12]
        ),
        None => format!("the database belongs to {} already", base.name),
    });
    Ok(ExitStatus::Done)
}

/// A database that is there; its tables stay as they are.
async fn open_existing(place: &str) -> anyhow::Result<Store> {
    match Store::open_existing(Place::new(place)).await {
        Err(StoreError::Missing) => {
            bail!("there is no database `{place}`; give one with --database")
        }
        opened => opened.with_context(|| cannot_use(place)),
    }
}

async fn export(store: &Store, form: ExportForm) -> anyhow::Result<String> {
    let mut records = Vec::new();
    let mut last = String::new();
    loop {
        let page = store.after(&last, PAGE).await?;
        let Some(end) = page.last() else { break };
        last.clone_from(&end.feedback.id);
        records.extend(page);
    }
    records.sort_by(|a, b| (a.updated_ms, &a.feedback.id).cmp(&(b.updated_ms, &b.feedback.id)));
    if form.prototype {
        let records: Vec<_> = records.into_iter().map(prototype_record).collect();
        return Ok(serde_json::to_string_pretty(&records)? + "\n");
    }
    let lines = records.into_iter().map(|record| {
        let line = serde_json::to_string(&line(record))?;
        anyhow::Ok(line + "\n")
    });
    lines.collect()
}

fn line(record: Rated) -> Line {
    let Rated {
        feedback, answer, ..
    } = record;
    Line {
        feedback_id: feedback.id,
        timestamp: rfc3339(record.updated_ms),
        input_text: answer.prompt,
        output_text: answer.output,
        user_rating: feedback.rating,
        correctness: feedback.correct,
        correction: feedback.correction,
        comments: feedback.comments,
        source_records: feedback.source.as_ref().and_then(|source| source.most),
        source: feedback.source.map(|source| source.digest),
        excluded: record.is_aside,
        ended: answer.ended,
        tokens_generated: answer.tokens,
        latency_ms: answer.latency_us as f64 / 1e3,
        model_variant: answer.variant,
        weights_version: answer.version,
        answered_at: Some(rfc3339(answer.created_ms)),
        parameters: serde_json::from_str(&answer.parameters).unwrap_or_default(),
    }
}

/// What the prototype has no field for goes where it keeps such things.
fn prototype_record(record: Rated) -> PrototypeRecord {
    let line = line(record);
    let mut metadata = line.parameters;
    let others = [
        ("correction", line.correction.map(Value::from)),
        ("comments", line.comments.map(Value::from)),
        ("model_variant", Some(line.model_variant.into())),
        ("weights_version", Some(line.weights_version.into())),
    ];
    for (name, value) in others {
        if let Some(value) = value {
            metadata.insert(name.to_owned(), value);
        }
    }
    PrototypeRecord {
        id: line.feedback_id,
        timestamp: line.timestamp,
        input: line.input_text,
        output: line.output_text,
        user_rating: line.user_rating,
        correctness: line.correctness,
        metadata,
    }
}

/// Reads either layout, and checks every record before any is stored.
fn read(input: &Path) -> anyhow::Result<Vec<Rated>> {
    let mut text = String::new();
    let name = input.display();
    if input == Path::new("-") {
        stdin()
            .read_to_string(&mut text)
            .context("cannot read standard input as UTF-8")?;
    } else {
        text =
            fs::read_to_string(input).with_context(|| format!("cannot read `{name}` as UTF-8"))?;
    }
    let lines: Vec<(usize, Line)> = if text.trim_start().starts_with('[') {
        let lines: Vec<Line> = serde_json::from_str(&text)
            .with_context(|| format!("`{name}` is no array of feedback records"))?;
        (1..).zip(lines).collect()
    } else {
        let lines = (1..)
            .zip(text.lines())
            .filter(|(_, line)| !line.trim().is_empty());
        let parsed = lines.map(|(number, line)| {
            let line = serde_json::from_str(line)
                .with_context(|| format!("`{name}`, line {number}, is no feedback record"))?;
            anyhow::Ok((number, line))
        });
        parsed.collect::<Result<_, _>>()?
    };
    ensure!(!lines.is_empty(), "`{name}` has no feedback");
    let records = lines
        .into_iter()
        .map(|(number, line)| rated(line).with_context(|| format!("`{name}`, record {number}")));
    records.collect()
}

fn rated(mut line: Line) -> anyhow::Result<Rated> {
    // The prototype's layout keeps these among its metadata.
    let mut from_metadata = |name: &str| match line.parameters.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let (correction, comments) = (from_metadata("correction"), from_metadata("comments"));
    // An empty one is none, as in a request.
    let correction = line
        .correction
        .or(correction)
        .filter(|text| !text.is_empty());
    let feedback = Feedback {
        id: line.feedback_id,
        rating: line.user_rating,
        correct: line.correctness,
        correction,
        comments: line.comments.or(comments),
        replaces: true,
        source: line.source.map(|digest| Source {
            digest,
            most: line.source_records,
        }),
    };
    if let Some(rating) = feedback.rating.filter(|rating| !(1..=5).contains(rating)) {
        bail!("`user_rating` is {rating}, expected 1 to 5");
    }
    ensure!(
        (1..=128).contains(&feedback.id.len()) && !feedback.id.contains('\0'),
        "`feedback_id` is no id, expected 1 to 128 characters"
    );
    ensure!(
        feedback.rating.is_some() || feedback.correct.is_some() || feedback.correction.is_some(),
        "it has no verdict: give `user_rating`, `correctness` or `correction`"
    );
    let at = milliseconds(&line.timestamp)?;
    Ok(Rated {
        created_ms: at,
        updated_ms: at,
        is_aside: line.excluded,
        answer: Answer {
            id: feedback.id.clone(),
            created_ms: line.answered_at.as_deref().map_or(Ok(at), milliseconds)?,
            prompt: line.input_text,
            output: line.output_text,
            ended: line.ended,
            tokens: line.tokens_generated,
            variant: line.model_variant,
            version: line.weights_version,
            parameters: Value::Object(line.parameters).to_string(),
            latency_us: (line.latency_ms * 1e3) as i64,
            user: None,
            arm: None,
        },
        feedback,
    })
}

/// RFC 3339, or as the prototype wrote it without a zone, which counts as UTC.
fn milliseconds(text: &str) -> anyhow::Result<i64> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let civil: DateTime = text
        .parse()
        .with_context(|| format!("`timestamp` is `{text}`, expected a date and a time"))?;
    Ok(civil.to_zoned(TimeZone::UTC)?.timestamp().as_millisecond())
}

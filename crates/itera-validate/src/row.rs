//! From likelihoods to a row of the result.

use anyhow::bail;
use itera_cli::model_info;
use itera_core::model::bits_per_byte;
use itera_data::Counts;
use itera_record::{
    Baselines, CodeLength, Divergence, Documents, ScoringProtocol, StaticScore, ValidationRecord,
    ValidationRow, ci95,
};

use crate::{
    TOOL,
    jobs::{Job, Variant},
    metrics::{Metrics, Sizes},
    options::Options,
    protocol::Nats,
    selection::Batch,
};

/// The record of these rows, made now on this machine.
pub(crate) fn record(protocol: ScoringProtocol, rows: Vec<ValidationRow>) -> ValidationRecord {
    let first = rows.first().map(|row| &row.model);
    let model = first
        .filter(|model| rows.iter().all(|row| row.model == **model))
        .cloned();
    let envelope = itera_cli::envelope::<ValidationRecord>(TOOL, model);
    ValidationRecord {
        envelope,
        protocol,
        rows,
    }
}

/// What a model made of a text.
#[derive(Default)]
pub(crate) struct Scores {
    /// Sizes of all documents together.
    counts: Counts,
    tokens: u64,
    unknown_tokens: u64,
    per_document: Documents,
    static_score: Option<StaticScore>,
    /// How often each token occurs, in the documents of all shards.
    pub(crate) frequencies: Vec<u64>,
    pub(crate) divergence: Option<Divergence>,
    pub(crate) seconds: f64,
}

impl Scores {
    /// Adds the next documents.
    pub(crate) fn add(&mut self, batch: Batch<Nats>, protocol: &ScoringProtocol) {
        self.frequencies.resize(batch.frequencies.len(), 0);
        for (sum, count) in self.frequencies.iter_mut().zip(batch.frequencies) {
            *sum += count;
        }
        for (document, nats) in batch.documents {
            self.counts = self.counts + document.counts;
            self.tokens += document.tokens;
            self.unknown_tokens += document.unknown_tokens;
            let documents = &mut self.per_document;
            documents.document_indices.push(document.index);
            documents.document_bytes.push(document.counts.bytes);
            documents.document_nll_nats.push(nats.nll);
            if let Some(nats) = nats.of_static {
                let score = self.static_score.get_or_insert_with(no_static_score);
                // One for each segment.
                let segment = protocol.adaptation.as_ref().map(|a| a.segment_tokens);
                score.updates += segment.map_or(0, |segment| document.tokens.div_ceil(segment));
                score.static_document_nll_nats.push(nats);
            }
        }
    }

    /// Refuses a likelihood that no language model gives.
    pub(crate) fn check(&self, protocol: &ScoringProtocol) -> anyhow::Result<()> {
        let documents = &self.per_document;
        let nll_nats = documents.document_nll_nats.iter();
        let broken = nll_nats
            .zip(&documents.document_indices)
            .find(|(nll, _)| !nll.is_finite());
        let Some((nll, index)) = broken else {
            return Ok(());
        };
        let document = index + 1;
        match &protocol.adaptation {
            Some(adaptation) => bail!(
                "document {document} has a negative log-likelihood of {nll}, since learning has led nowhere; give \
                 a lower `--adapt-learning-rate` than {}",
                adaptation.learning_rate
            ),
            None => bail!(
                "document {document} has a negative log-likelihood of {nll}; the weights are finite but too \
                 large to compute with; use another checkpoint, or compare with `--engine native`"
            ),
        }
    }
}

/// Before the first document; the figures follow with those of the row.
fn no_static_score() -> StaticScore {
    StaticScore {
        updates: 0,
        static_bits_per_byte: 0.0,
        gain: 0.0,
        static_document_nll_nats: Vec::new(),
    }
}

/// The row of one variant of a job.
pub(crate) fn of_job(
    job: &Job,
    variant: &Variant,
    options: &Options,
    baselines: Baselines,
    scores: Scores,
) -> anyhow::Result<ValidationRow> {
    let (source, loaded, counts) = (&job.text.source, &variant.loaded, scores.counts);
    let row = ValidationRow {
        model: model_info(&loaded.name, &loaded.file_sha256, &loaded.checkpoint),
        dataset: source.name.clone(),
        split: job.text.split().to_owned(),
        dataset_sha256: source.sha256.clone(),
        dataset_verdict: source.verdict.to_string(),
        documents: scores.per_document.document_indices.len() as u64,
        bytes: counts.bytes,
        chars: counts.chars,
        words: counts.words,
        tokens: scores.tokens,
        unknown_tokens: scores.unknown_tokens,
        baselines,
        code_length: Some(CodeLength {
            model_file_bytes: loaded.checkpoint.to_bytes()?.len() as u64,
            text_bytes: 0,
            total_bytes: 0,
        }),
        precision: loaded.checkpoint.precision().to_string(),
        engine: variant.engine.name().to_owned(),
        kernel: variant.engine.kernel().map(|kernel| kernel.to_string()),
        divergence: scores.divergence,
        static_score: scores.static_score,
        protocol: options.protocol.clone(),
        seconds: scores.seconds,
        dataset_bytes: job.selection.dataset_bytes,
        shard: options.shard.map(|shard| shard.0),
        parts: Vec::new(),
        per_document: scores.per_document,
        // What follows from the fields above.
        nll_nats: 0.0,
        bits_per_byte: 0.0,
        byte_perplexity: 0.0,
        char_perplexity: 0.0,
        word_perplexity: None,
        token_perplexity: 0.0,
        bits_per_byte_ci95: None,
        tokens_per_s: 0.0,
        bytes_scored_fraction: 0.0,
    };
    derive(row)
}

/// Computes every field of a row that follows from the counts and the likelihoods of documents.
pub(crate) fn derive(mut row: ValidationRow) -> anyhow::Result<ValidationRow> {
    let Documents {
        document_bytes,
        document_nll_nats,
        ..
    } = &row.per_document;
    row.nll_nats = document_nll_nats.iter().sum();
    row.bits_per_byte_ci95 = ci95(document_nll_nats, document_bytes, row.protocol.bootstrap);
    if let Some(code) = &mut row.code_length {
        code.text_bytes = (row.nll_nats / std::f64::consts::LN_2 / 8.0).ceil() as u64;
        code.total_bytes = code.text_bytes + code.model_file_bytes;
    }
    let (bytes, chars, words, tokens) = (row.bytes, row.chars, row.words, row.tokens);
    let metrics = Metrics::new(
        row.nll_nats,
        Sizes {
            bytes,
            chars,
            words,
            tokens,
        },
    )?;
    row.bits_per_byte = metrics.bits_per_byte;
    row.byte_perplexity = metrics.byte_perplexity;
    row.char_perplexity = metrics.char_perplexity;
    row.word_perplexity = metrics.word_perplexity;
    row.token_perplexity = metrics.token_perplexity;
    if let Some(score) = &mut row.static_score {
        let nats = score.static_document_nll_nats.iter().sum::<f64>();
        score.static_bits_per_byte = bits_per_byte(nats, bytes as f64);
        score.gain = 1.0 - row.bits_per_byte / score.static_bits_per_byte;
    }
    row.baselines.worse_than_uniform = row.bits_per_byte > row.baselines.uniform_bits_per_byte;
    // A clock too coarse for a tiny text must not make the speed infinite.
    row.tokens_per_s = tokens as f64 / row.seconds.max(1e-9);
    row.bytes_scored_fraction = bytes as f64 / row.dataset_bytes as f64;
    Ok(row)
}

//! The text that judges an adaptation, and the text that is replayed beside the feedback.

use anyhow::{Context as _, ensure};
use itera_core::checkpoint::Checkpoint;
use itera_data::{Corpus, Dataset, Places};
use itera_learn::adapt::{GuardDocument, Probe};

/// Most bytes of each: enough to judge by, and little to read again and again.
const GUARD_BYTES: usize = 64 << 10;
const REPLAY_BYTES: usize = 4 << 20;

/// Text beside the feedback, as tokens.
#[derive(Clone, Debug)]
pub(crate) struct Texts {
    pub(crate) guard: Vec<GuardDocument>,
    pub(crate) replay: Vec<Vec<u32>>,
    pub(crate) probes: Vec<Probe>,
    /// What they are, for people.
    pub(crate) description: String,
}

impl Texts {
    /// Loads both: by name or path, or in the manner of what the model was trained on. Every second
    /// document of a text may guard and the others may be replayed, so that a text given for both is
    /// divided.
    ///
    /// # Errors
    /// A text that is missing, cannot be read by the tokenizer, or has only one document.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        guard: Option<&str>,
        replay: Option<&str>,
        probes: Vec<Probe>,
    ) -> anyhow::Result<Self> {
        let own = own_sample(checkpoint);
        let guard = guard.map_or(own.clone(), parse);
        let replay = replay.map_or(own, parse);
        let (judges, repeats) = (load(&guard)?, load(&replay)?);
        let judging = tokens(checkpoint, &judges, 0, GUARD_BYTES)?;
        let replayed = tokens(checkpoint, &repeats, 1, REPLAY_BYTES)?;
        ensure!(
            !judging.is_empty(),
            "the text {guard} has no document to guard"
        );
        Ok(Self {
            description: format!(
                "guard: {} documents of {guard}; replay: {} documents of {replay}; probes: {}",
                judging.len(),
                replayed.len(),
                probes.len()
            ),
            probes,
            guard: judging
                .into_iter()
                .map(|(tokens, bytes)| GuardDocument { tokens, bytes })
                .collect(),
            replay: replayed.into_iter().map(|(tokens, _)| tokens).collect(),
        })
    }
}

/// The compiled-in sample in the manner of the model's own text.
fn own_sample(checkpoint: &Checkpoint) -> Dataset {
    let dataset = checkpoint.training.get("dataset");
    let name = dataset.and_then(serde_json::Value::as_str);
    name.map_or(Dataset::SampleTinyStories, |name| parse(name).sample())
}

/// A name or a path; every text is one.
pub(crate) fn parse(name: &str) -> Dataset {
    name.parse().unwrap_or_else(|_| Dataset::File(name.into()))
}

/// A data set from the usual places.
pub(crate) fn load(dataset: &Dataset) -> anyhow::Result<Corpus> {
    let split = dataset.splits().contains(&itera_data::Split::Valid);
    let split = split.then_some(itera_data::Split::Valid);
    let corpus = Corpus::load(dataset, split, &Places::of_environment())
        .with_context(|| format!("cannot read the text {dataset}"))?;
    corpus.warnings().iter().for_each(itera_cli::warn);
    Ok(corpus)
}

/// Every second document from `first` on, as tokens with its bytes, until there are `most` bytes.
fn tokens(
    checkpoint: &Checkpoint,
    corpus: &Corpus,
    first: usize,
    most: usize,
) -> anyhow::Result<Vec<(Vec<u32>, u64)>> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    for text in corpus.texts().skip(first).step_by(2) {
        if bytes >= most {
            break;
        }
        bytes += text.len();
        let tokens = checkpoint
            .tokenizer
            .encode(text)
            .with_context(|| format!("cannot use the text {}", corpus.name))?;
        if !tokens.is_empty() {
            found.push((tokens, text.len() as u64));
        }
    }
    Ok(found)
}

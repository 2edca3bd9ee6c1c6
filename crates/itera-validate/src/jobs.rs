//! Which checkpoint is scored on which text.

use anyhow::{Context as _, bail, ensure};
use itera_cli::warn;
use itera_core::{
    checkpoint::Precision,
    model::Model,
    models::{LoadedCheckpoint, load_at_precision, load_checkpoint, shipped_models},
};
use itera_data::{
    DataError, Dataset, Places, Split,
    records::{Source, Survey},
};
use itera_record::columns::text_name;

use crate::{
    adapt,
    engine::{self, Engine},
    mix::Mixed,
    options::Options,
    selection::Selection,
};

/// Everything that a run reads.
pub(crate) struct Work {
    candidates: Vec<Candidate>,
    texts: Vec<Text>,
    /// What the reader of the result should know about the choice of texts.
    pub(crate) notes: Vec<String>,
}

/// A checkpoint at the precisions asked for, and the texts that it is scored on.
struct Candidate {
    variants: Vec<Variant>,
    /// Positions in [`Work::texts`].
    texts: Vec<usize>,
}

/// A checkpoint at one precision.
pub(crate) struct Variant {
    pub(crate) loaded: LoadedCheckpoint,
    pub(crate) engine: Box<dyn Engine + Send>,
    /// The same model in fp32, to compare with.
    pub(crate) reference: Option<Model>,
}

/// A text, looked through once however many checkpoints read it.
pub(crate) struct Text {
    dataset: Dataset,
    pub(crate) source: Source,
    survey: Survey,
}

/// One checkpoint, at some precisions, on one text.
pub(crate) struct Job<'a> {
    pub(crate) variants: &'a [Variant],
    pub(crate) text: &'a Text,
    pub(crate) selection: Selection<'a>,
}

/// Loads the checkpoints and texts that the options name.
pub(crate) fn load(options: &Options) -> anyhow::Result<Work> {
    let shipped = || shipped_models().context("cannot list the shipped checkpoints");
    let all = options.checkpoints.is_empty();
    let names = if all {
        shipped()?
    } else {
        options.checkpoints.clone()
    };
    for (i, name) in names.iter().enumerate() {
        ensure!(
            !names[..i].contains(name),
            "the checkpoint {name} is given twice; give each once"
        );
    }
    let mut work = Work {
        candidates: Vec::new(),
        texts: Vec::new(),
        notes: Vec::new(),
    };
    let places = Places::of_environment();
    for name in &names {
        let variants = variants(name, options)?;
        for loaded in variants.iter().map(|variant| &variant.loaded) {
            work.notes.extend(loaded.caveat());
        }
        let texts = work.load_texts(options, &places, &variants[0].loaded)?;
        work.candidates.push(Candidate { variants, texts });
    }
    work.check_files(options)?;
    Ok(work)
}

/// A checkpoint at each of the precisions.
fn variants(name: &str, options: &Options) -> anyhow::Result<Vec<Variant>> {
    let loaded = match &options.precisions {
        None => vec![load_checkpoint(name)?],
        Some(precisions) => precisions
            .iter()
            .map(|precision| load_at_precision(name, *precision))
            .collect::<Result<_, _>>()?,
    };
    let variant = |loaded: LoadedCheckpoint| {
        let engine = match &options.protocol.adaptation {
            Some(adaptation) => adapt::engine(&loaded.checkpoint, adaptation),
            None => engine::open(options.engine, &loaded.checkpoint, options.kernel),
        };
        let mut engine = engine.with_context(|| format!("cannot run {}", loaded.name))?;
        if options.protocol.mix.is_some() {
            engine = Box::new(Mixed(engine));
        }
        let reference = options.reference.then(|| {
            let plain = load_at_precision(name, Precision::Fp32)?;
            let model = Model::with_kernel(&plain.checkpoint, options.kernel);
            model.with_context(|| format!("cannot run {}", plain.name))
        });
        Ok(Variant {
            loaded,
            engine,
            reference: reference.transpose()?,
        })
    };
    loaded.into_iter().map(variant).collect()
}

impl Work {
    /// The jobs, checkpoint by checkpoint.
    pub(crate) fn jobs(&self, options: &Options) -> anyhow::Result<Vec<Job<'_>>> {
        let mut jobs = Vec::new();
        for Candidate { variants, texts } in &self.candidates {
            let loaded = &variants[0].loaded;
            for &text in texts {
                let text = &self.texts[text];
                let selection = Selection::new(
                    (&text.source, &text.survey),
                    &loaded.checkpoint.tokenizer,
                    &options.protocol,
                    options.shard,
                )
                .with_context(|| format!("cannot score {} on {}", loaded.name, text.label()))?;
                jobs.push(Job {
                    variants,
                    text,
                    selection,
                });
            }
        }
        Ok(jobs)
    }

    /// The texts for one checkpoint: those asked for, else its own, else a sample in their manner. The
    /// selection by which settings are chosen is one of its own only where it is there.
    fn load_texts(
        &mut self,
        options: &Options,
        places: &Places,
        loaded: &LoadedCheckpoint,
    ) -> anyhow::Result<Vec<usize>> {
        let mut texts = Vec::new();
        if !options.datasets.is_empty() {
            for member in options.datasets.iter().flat_map(Dataset::members) {
                let text = self.load_text(member, options.split, options, places)?;
                let source = &self.texts[text].source;
                if let (Some(split), None) = (options.split, source.split) {
                    bail!(
                        "{} has no splits, so it has no {split}; leave out `--split`",
                        source.name
                    );
                }
                texts.push(text);
            }
            return Ok(texts);
        }
        for dataset in own_datasets(loaded)? {
            let sample = dataset.sample();
            texts.push(
                match self.load_text(dataset, options.split, options, places) {
                    Err(DataError::Missing { text, .. } | DataError::OtherText { text, .. })
                        if text.name == SELECTION =>
                    {
                        continue;
                    }
                    Err(DataError::Missing { text, split, .. }) => {
                        self.notes.push(format!(
                        "the {split} split of {name} is not here, so {} was scored on {sample}; \
                         run `scripts/fetch-data.sh --only {name}` for the real text",
                        loaded.name,
                        name = text.name
                    ));
                        self.load_text(sample, None, options, places)?
                    }
                    outcome => outcome?,
                },
            );
        }
        Ok(texts)
    }

    /// Refuses an output over a checkpoint or a text.
    fn check_files(&self, options: &Options) -> anyhow::Result<()> {
        let mut files = options.files();
        let variants = self
            .candidates
            .iter()
            .flat_map(|candidate| &candidate.variants);
        for path in variants.filter_map(|variant| variant.loaded.path.as_ref()) {
            files = files.read("the checkpoint", path);
        }
        for path in self.texts.iter().flat_map(|text| &text.source.paths) {
            files = files.read("the text", path);
        }
        files.check()
    }

    fn load_text(
        &mut self,
        dataset: Dataset,
        split: Option<Split>,
        options: &Options,
        places: &Places,
    ) -> Result<usize, DataError> {
        if let Some(known) = self.texts.iter().position(|text| text.dataset == dataset) {
            return Ok(known);
        }
        let source = Source::open(&dataset, split, places, &options.records)?;
        let survey = source.survey()?;
        survey.warnings.iter().for_each(warn);
        self.texts.push(Text {
            dataset,
            source,
            survey,
        });
        Ok(self.texts.len() - 1)
    }
}

impl Text {
    /// `wikitext2 test`, or the path of a file.
    pub(crate) fn label(&self) -> String {
        text_name(&self.source.name, self.split())
    }

    /// Name of the split; `all` for texts without splits.
    pub(crate) fn split(&self) -> &'static str {
        self.source.split.map_or("all", Split::name)
    }
}

/// The data sets that a checkpoint is scored on by itself: those of the kind that it was trained on, of
/// both kinds if it does not say. For TinyStories it is the part of the official split by which this project
/// reports, and its own selection.
fn own_datasets(loaded: &LoadedCheckpoint) -> anyhow::Result<Vec<Dataset>> {
    let parse = |name: &str| name.parse::<Dataset>();
    let names = match loaded.checkpoint.training["dataset"].as_str() {
        None => vec!["wikitext2", "tinystories-head", SELECTION],
        Some("tinystories") => vec!["tinystories-head", SELECTION],
        Some(name) => vec![name],
    };
    let datasets: Vec<_> = names.into_iter().map(parse).collect::<Result<_, _>>()?;
    if let [Dataset::File(path)] = &datasets[..] {
        bail!(
            "{} was trained on the file `{}`; name the text to score it on with `--dataset`",
            loaded.name,
            path.display()
        );
    }
    Ok(datasets.iter().flat_map(Dataset::members).collect())
}

/// The text by which settings of models of stories are chosen.
const SELECTION: &str = "tinystories-dev";

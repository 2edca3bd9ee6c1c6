//! The record of ablations, written by `itera-train ablate`: what each design decision is worth when
//! all else, and the text that is read, stays the same.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    DataSource, Envelope, Record,
    check::{self, RecordError},
};

/// Studies, each a base run and variants of it, several seeds of each. There is no `model`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AblationRecord {
    /// Schema, time, tool and host.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// The command that repeats all runs, one argument each, the program first.
    pub command: Vec<String>,
    /// The studies, in the order of the plan.
    pub studies: Vec<AblationStudy>,
}

/// Runs that compare: one text, one budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AblationStudy {
    /// Name of the study.
    pub name: String,
    /// Bytes of training text that a run reads, repetitions included, unless its variant says otherwise.
    pub text_bytes: u64,
    /// The texts; the last is the one of validation.
    pub data: Vec<DataSource>,
    /// What validation reads, and how: the whole text by the protocol `document`.
    pub validation: String,
    /// Every variant, the base first.
    pub variants: Vec<AblationVariant>,
}

/// One variant of the base.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AblationVariant {
    /// The decision that it is about, for example `optimiser`; `base` for the base.
    pub axis: String,
    /// What is decided otherwise.
    pub name: String,
    /// Arguments of `itera-train fit` that lead to a run of it, without seed, steps and output; for
    /// what `fit` does not train, those that it shares.
    pub arguments: Vec<String>,
    /// Whether it is the transformer that serves as a baseline.
    pub is_transformer: bool,
    /// Whether its output head is a matrix of its own and not the embedding, which no model that ships
    /// has and `fit` does not train.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_own_head: bool,
    /// Bytes of training text that its runs read in place of the study's, where a byte costs another
    /// time than in the base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_bytes: Option<u64>,
    /// Parameters, tied ones counted once.
    pub params: u64,
    /// Parameters that a token visits.
    pub active_params: u64,
    /// Bytes of text per token that is read.
    pub bytes_per_token: f64,
    /// One for each seed that has been trained.
    pub runs: Vec<AblationRun>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AblationRun {
    /// Seed of the initial weights and of the order of the text.
    pub seed: u64,
    /// Steps of the optimiser.
    pub steps: u64,
    /// Tokens that were read, repetitions included.
    pub tokens: u64,
    /// Passes over the text.
    pub epochs: f64,
    /// Wall time of the steps. Runs side by side share the machine, so it is an indication only.
    pub seconds: f64,
    /// The processor that it ran on; runs of one record may be from several machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Bits per byte of validation after the last step; null if the loss was no number on the way.
    pub valid_bits_per_byte: Option<f64>,
}

impl Record for AblationRecord {
    const SCHEMA: &'static str = "itera.ablations/1";

    fn validate(&self) -> Result<(), RecordError> {
        self.envelope.validate(Self::SCHEMA)?;
        check::ensure(
            !self.command.is_empty(),
            "command",
            "empty",
            "the program's arguments",
        )?;
        for (i, study) in self.studies.iter().enumerate() {
            study.validate(&format!("studies[{i}]"))?;
        }
        Ok(())
    }
}

impl AblationStudy {
    fn validate(&self, at: &str) -> Result<(), RecordError> {
        for (i, source) in self.data.iter().enumerate() {
            check::sha256(&format!("{at}.data[{i}].sha256"), &source.sha256)?;
        }
        for (i, variant) in self.variants.iter().enumerate() {
            variant.validate(&format!("{at}.variants[{i}]"))?;
        }
        Ok(())
    }
}

impl AblationVariant {
    /// Mean over the seeds of the bits per byte, and their standard deviation if there are several;
    /// nothing if there is no run, or the loss of one was no number.
    pub fn bits(&self) -> Option<(f64, Option<f64>)> {
        let bits = self.runs.iter().map(|run| run.valid_bits_per_byte);
        let bits = bits.collect::<Option<Vec<f64>>>()?;
        let count = bits.len() as f64;
        let mean = bits.iter().sum::<f64>() / count;
        let squares: f64 = bits.iter().map(|bits| (bits - mean).powi(2)).sum();
        let deviation = (bits.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
        (!bits.is_empty()).then_some((mean, deviation))
    }

    /// What it takes more in bits per byte than `base`, for every seed that both have.
    pub fn against(&self, base: &Self) -> Vec<f64> {
        let pairs = self.runs.iter().filter_map(|run| {
            let twin = base.runs.iter().find(|twin| twin.seed == run.seed)?;
            Some(run.valid_bits_per_byte? - twin.valid_bits_per_byte?)
        });
        pairs.collect()
    }

    fn validate(&self, at: &str) -> Result<(), RecordError> {
        check::finite(&format!("{at}.bytes_per_token"), self.bytes_per_token)?;
        let (active, all) = (self.active_params, self.params);
        check::ensure(
            active <= all,
            &format!("{at}.active_params"),
            active,
            format!("at most `params`, {all}"),
        )?;
        for (i, run) in self.runs.iter().enumerate() {
            let at = format!("{at}.runs[{i}]");
            check::finite(&format!("{at}.seconds"), run.seconds)?;
            check::finite(&format!("{at}.epochs"), run.epochs)?;
            if let Some(bits) = run.valid_bits_per_byte {
                check::finite(&format!("{at}.valid_bits_per_byte"), bits)?;
            }
            let is_new = self.runs[..i].iter().all(|other| other.seed != run.seed);
            check::ensure(is_new, &format!("{at}.seed"), run.seed, "one run of a seed")?;
        }
        Ok(())
    }
}

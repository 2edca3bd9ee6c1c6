//! The metrics of a run: one row per logged step, each the mean since the row before.

use anyhow::Context as _;
use itera_core::model::bits_per_byte;
use itera_learn::trainer::StepReport;
use serde::{Deserialize, Serialize};

/// Below this share of the visits an expert counts as dead.
const DEAD_SHARE: f64 = 0.01;

/// Everything measured so far. Saved with an interrupted run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct History {
    pub(crate) rows: Vec<Row>,
    /// Since the last row.
    interval: Interval,
    /// Tokens trained on.
    pub(crate) tokens: u64,
    /// Wall time of the steps.
    pub(crate) seconds: f64,
}

/// Sums over the steps since the last row.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Interval {
    steps: u64,
    tokens: u64,
    seconds: f64,
    cross_entropy: f64,
    balance: f64,
    gradient_norm: f64,
    /// Per layer and expert.
    load: Vec<Vec<f64>>,
}

/// The means over some steps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Steps done.
    pub(crate) step: u64,
    /// Passes over the data, counted from 0.
    pub(crate) epoch: u64,
    /// Tokens trained on.
    pub(crate) tokens: u64,
    pub(crate) learning_rate: f64,
    pub(crate) train_nats_per_token: f64,
    pub(crate) train_bits_per_byte: f64,
    pub(crate) valid_bits_per_byte: Option<f64>,
    pub(crate) gradient_norm: f64,
    pub(crate) balance: f64,
    /// Per layer, the share of visits of each expert.
    pub(crate) load: Vec<Vec<f64>>,
    pub(crate) tokens_per_s: f64,
    /// Wall time of all steps so far.
    pub(crate) seconds: f64,
}

impl History {
    /// Takes in one step that took `seconds`.
    pub(crate) fn add(&mut self, report: &StepReport, seconds: f64) {
        let interval = &mut self.interval;
        interval.steps += 1;
        interval.tokens += report.tokens as u64;
        interval.seconds += seconds;
        interval.cross_entropy += f64::from(report.cross_entropy);
        interval.balance += f64::from(report.balance);
        interval.gradient_norm += f64::from(report.gradient_norm);
        if interval.load.is_empty() {
            interval.load.clone_from(&report.expert_load);
        } else {
            let sums = interval.load.iter_mut().flatten();
            for (sum, share) in sums.zip(report.expert_load.iter().flatten()) {
                *sum += share;
            }
        }
        self.tokens += report.tokens as u64;
        self.seconds += seconds;
    }

    /// Mean cross-entropy in nats per token since the last row.
    pub(crate) fn nats_per_token(&self) -> f64 {
        self.interval.cross_entropy / self.interval.steps as f64
    }

    /// Tokens per second since the last row.
    pub(crate) fn tokens_per_s(&self) -> f64 {
        self.interval.tokens as f64 / self.interval.seconds
    }

    /// Closes the interval with `report`, the last step of it.
    pub(crate) fn push_row(
        &mut self,
        report: &StepReport,
        bytes_per_token: f64,
        valid_bits_per_byte: Option<f64>,
    ) {
        let tokens_per_s = self.tokens_per_s();
        let mut interval = std::mem::take(&mut self.interval);
        let count = interval.steps as f64;
        interval
            .load
            .iter_mut()
            .flatten()
            .for_each(|share| *share /= count);
        let train_nats_per_token = interval.cross_entropy / count;
        self.rows.push(Row {
            step: report.step,
            epoch: report.epoch,
            tokens: self.tokens,
            learning_rate: report.learning_rate,
            train_nats_per_token,
            train_bits_per_byte: bits_per_byte(train_nats_per_token, bytes_per_token),
            valid_bits_per_byte,
            gradient_norm: interval.gradient_norm / count,
            balance: interval.balance / count,
            load: interval.load,
            tokens_per_s,
            seconds: self.seconds,
        });
    }

    /// The rows as CSV.
    pub(crate) fn csv(&self) -> anyhow::Result<Vec<u8>> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let layers = self.rows.first().map_or(0, |row| row.load.len());
        writer.write_record(COLUMNS.iter().map(|name| (*name).to_owned()).chain(
            (0..layers).flat_map(|layer| {
                [
                    format!("layer_{layer}_load"),
                    format!("layer_{layer}_entropy"),
                ]
            }),
        ))?;
        for row in &self.rows {
            writer.write_record(row.cells())?;
        }
        writer.into_inner().context("cannot write the metrics")
    }
}

/// Columns before those of the layers. Loads are shares of visits, expert by expert; the entropy
/// of a load is 1 when all experts are visited alike and 0 when there is only one.
const COLUMNS: [&str; 12] = [
    "step",
    "epoch",
    "tokens",
    "learning_rate",
    "train_nats_per_token",
    "train_bits_per_byte",
    "valid_bits_per_byte",
    "gradient_norm",
    "balance",
    "dead_experts",
    "tokens_per_s",
    "seconds",
];

impl Row {
    fn cells(&self) -> Vec<String> {
        let mut cells = vec![
            self.step.to_string(),
            self.epoch.to_string(),
            self.tokens.to_string(),
            format!("{:.3e}", self.learning_rate),
            format!("{:.5}", self.train_nats_per_token),
            format!("{:.5}", self.train_bits_per_byte),
            self.valid_bits_per_byte
                .map_or(String::new(), |bits| format!("{bits:.5}")),
            format!("{:.4}", self.gradient_norm),
            format!("{:.4}", self.balance),
            self.dead_experts().len().to_string(),
            format!("{:.0}", self.tokens_per_s),
            format!("{:.2}", self.seconds),
        ];
        for load in &self.load {
            let shares: Vec<_> = load.iter().map(|share| format!("{share:.3}")).collect();
            cells.extend([shares.join(" "), format!("{:.4}", entropy(load))]);
        }
        cells
    }

    /// Layer and number of every expert that hardly any token visits.
    pub(crate) fn dead_experts(&self) -> Vec<(usize, usize)> {
        let layers = self.load.iter().enumerate();
        let experts = layers.flat_map(|(layer, load)| {
            load.iter()
                .enumerate()
                .map(move |(expert, share)| ((layer, expert), *share))
        });
        experts
            .filter(|(_, share)| *share < DEAD_SHARE)
            .map(|(at, _)| at)
            .collect()
    }
}

/// Entropy of the shares, 1 when they are equal and 0 when one has everything.
pub(crate) fn entropy(shares: &[f64]) -> f64 {
    let nats = |share: &f64| {
        if *share > 0.0 {
            -share * share.ln()
        } else {
            0.0
        }
    };
    shares.iter().map(nats).sum::<f64>() / (shares.len().max(2) as f64).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(step: u64, cross_entropy: f32, load: [f64; 2]) -> StepReport {
        StepReport {
            step,
            epoch: 0,
            cross_entropy,
            balance: 1.0,
            gradient_norm: 0.5,
            learning_rate: 1e-3,
            tokens: 100,
            expert_load: vec![load.to_vec()],
        }
    }

    #[test]
    fn rows_are_means_since_the_row_before() {
        let mut history = History::default();
        history.add(&report(1, 3.0, [1.0, 0.0]), 1.0);
        history.add(&report(2, 1.0, [0.5, 0.5]), 3.0);
        history.push_row(&report(2, 1.0, [0.5, 0.5]), 2.0, Some(1.25));
        history.add(&report(3, 5.0, [0.999, 0.001]), 1.0);
        history.push_row(&report(3, 5.0, [0.999, 0.001]), 2.0, None);
        let csv = String::from_utf8(history.csv().unwrap()).unwrap();
        assert_eq!(
            csv,
            "step,epoch,tokens,learning_rate,train_nats_per_token,train_bits_per_byte,\
             valid_bits_per_byte,gradient_norm,balance,dead_experts,tokens_per_s,seconds,\
             layer_0_load,layer_0_entropy\n\
             2,0,200,1.000e-3,2.00000,1.44270,1.25000,0.5000,1.0000,0,50,4.00,0.750 0.250,0.8113\n\
             3,0,300,1.000e-3,5.00000,3.60674,,0.5000,1.0000,1,100,5.00,0.999 0.001,0.0114\n"
        );
        assert_eq!(history.rows[1].dead_experts(), [(0, 1)]);
    }

    #[test]
    fn entropy_is_that_of_equal_shares_at_most() {
        assert!((entropy(&[0.25; 4]) - 1.0).abs() < 1e-12);
        assert!(entropy(&[1.0, 0.0]).abs() < 1e-12);
        assert!(entropy(&[1.0]).abs() < 1e-12);
    }
}

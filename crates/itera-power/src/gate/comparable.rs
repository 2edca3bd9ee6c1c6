//! Whether two runs can be compared at all.

use itera_record::{HostInfo, PowerMode, PowerProtocol};
use thiserror::Error;

use super::Baseline;

/// Samples below which the test can show nothing.
const MIN_SAMPLES: u64 = 10;

/// Why two runs cannot be compared.
#[derive(Debug, Error)]
pub(crate) enum GateError {
    #[error(
        "cannot compare: {field} is {old} in the baseline and {new} now; measure both alike, or make the \
         baseline anew"
    )]
    Protocol {
        field: &'static str,
        old: String,
        new: String,
    },
    #[error("cannot compare: the baseline has no row in common with this run; it has {known}")]
    NoCommonRow { known: String },
    #[error(
        "cannot compare: the baseline was measured on another processor ({old_cpu}) with the kernel \
         `{old}`, this run uses `{new}`, and ratios to the calibration workload hold only for one kernel; \
         make the baseline on a machine of this kind"
    )]
    Kernel {
        old_cpu: String,
        old: String,
        new: String,
    },
    #[error("cannot compare: {whose} has {samples} samples a row, expected at least {MIN_SAMPLES}")]
    FewSamples { whose: &'static str, samples: u64 },
}

/// A row that is going to be measured.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) name: String,
    pub(crate) precision: String,
    pub(crate) mode: PowerMode,
    pub(crate) kernel: String,
}

/// Refuses what does not compare; returns what qualifies the comparison, in words.
pub(crate) fn check(
    baseline: &Baseline,
    protocol: &PowerProtocol,
    host: &HostInfo,
    planned: &[Planned],
) -> Result<Vec<String>, GateError> {
    let (old, old_host) = (&baseline.record.protocol, &baseline.record.envelope.host);
    same("--seq-len", &old.seq_len_tokens, &protocol.seq_len_tokens)?;
    same("--threads", &old.threads, &protocol.threads)?;
    same("the source of the tokens", &old.tokens, &protocol.tokens)?;
    same(
        "the calibration workload",
        &old.calibration,
        &protocol.calibration,
    )?;
    for (whose, samples) in [
        ("the baseline", old.samples),
        ("this run", protocol.samples),
    ] {
        if samples < MIN_SAMPLES {
            return Err(GateError::FewSamples { whose, samples });
        }
    }
    let same_host = old_host.cpu == host.cpu;
    let mut common = 0;
    for row in planned {
        let key = (row.name.as_str(), row.precision.as_str(), row.mode);
        let Some(old_row) = baseline.record.rows.iter().find(|old| old.key() == key) else {
            continue;
        };
        common += 1;
        // On one processor another kernel is a change of the build, which the gate is there to judge.
        if !same_host && old_row.kernel != row.kernel {
            return Err(GateError::Kernel {
                old_cpu: old_host.cpu.clone(),
                old: old_row.kernel.clone(),
                new: row.kernel.clone(),
            });
        }
    }
    if common == 0 {
        return Err(GateError::NoCommonRow {
            known: known(baseline),
        });
    }
    Ok(qualifications(old_host, host, (old.cores, protocol.cores)))
}

/// What a reader should know about the two machines.
fn qualifications(old: &HostInfo, new: &HostInfo, cores: (u64, u64)) -> Vec<String> {
    let mut notes = Vec::new();
    if old.cpu != new.cpu {
        notes.push(format!(
            "the baseline was measured on another processor ({}); ratios to the calibration workload take \
             out its speed, but not its caches: confirm a regression on one machine",
            old.cpu
        ));
    }
    if cores.0 != cores.1 {
        notes.push(format!(
            "the baseline was measured on {} cores, this run on {}; estimated energy is not compared",
            cores.0, cores.1
        ));
    }
    notes
}

fn same<T: PartialEq + ToString>(field: &'static str, old: &T, new: &T) -> Result<(), GateError> {
    if old == new {
        return Ok(());
    }
    Err(GateError::Protocol {
        field,
        old: old.to_string(),
        new: new.to_string(),
    })
}

/// The rows of a baseline, shortly.
fn known(baseline: &Baseline) -> String {
    let rows = baseline.record.rows.iter();
    let mut names: Vec<_> = rows
        .map(|row| {
            format!(
                "{} {} {}",
                row.model.name,
                row.model.precision,
                row.mode.name()
            )
        })
        .collect();
    if names.is_empty() {
        return "no row".to_owned();
    }
    let more = names.len().saturating_sub(6);
    names.truncate(6);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names.join(", ")
}

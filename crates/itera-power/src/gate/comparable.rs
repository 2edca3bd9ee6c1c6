//! Whether two runs can be compared at all.

use itera_record::{HostInfo, PowerMode, PowerProtocol, PowerRecord};
use thiserror::Error;

use super::{ALPHA, MAX_PROCESSES, judge, tests};

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
    #[error(
        "cannot compare: with {old} processes in the baseline and {new} now, {tests} tests can show no \
         regression, however slow the build; measure both with `--processes {enough}`, or fewer rows"
    )]
    FewProcesses {
        old: u64,
        new: u64,
        tests: usize,
        enough: u64,
    },
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
    baseline: &PowerRecord,
    protocol: &PowerProtocol,
    host: &HostInfo,
    planned: &[Planned],
) -> Result<Vec<String>, GateError> {
    let (old, old_host) = (&baseline.protocol, &baseline.envelope.host);
    same("--seq-len", &old.seq_len_tokens, &protocol.seq_len_tokens)?;
    same("--threads", &old.threads, &protocol.threads)?;
    same("the source of the tokens", &old.tokens, &protocol.tokens)?;
    same(
        "the calibration workload",
        &old.calibration,
        &protocol.calibration,
    )?;
    let same_host = old_host.cpu == host.cpu;
    let (mut common, mut counters) = (0, 0);
    for row in planned {
        let key = (row.name.as_str(), row.precision.as_str(), row.mode);
        let Some(old_row) = baseline.rows.iter().find(|old| old.key() == key) else {
            continue;
        };
        common += 1;
        counters = counters.max(old_row.samples.counters.len());
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
    check_design(tests(common, counters), old.processes, protocol.processes)?;
    Ok(if same_host {
        Vec::new()
    } else {
        vec![format!(
            "the baseline was measured on another processor ({}); ratios to the calibration workload take \
             out its speed, but not its caches: confirm a regression on one machine",
            old_host.cpu
        )]
    })
}

/// Refuses a comparison that could find nothing: even if every process now were slower than every one of
/// the baseline, chance would explain it.
pub(crate) fn check_design(tests: usize, old: u64, new: u64) -> Result<(), GateError> {
    let can_fail = |old: u64, new: u64| {
        judge::least_chance(new as usize, old as usize) < ALPHA / tests.max(1) as f64
    };
    if can_fail(old, new) {
        return Ok(());
    }
    let enough = (1..=MAX_PROCESSES).find(|n| can_fail(*n, *n));
    let enough = enough.unwrap_or(MAX_PROCESSES);
    Err(GateError::FewProcesses {
        old,
        new,
        tests,
        enough,
    })
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
fn known(baseline: &PowerRecord) -> String {
    let rows = baseline.rows.iter();
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

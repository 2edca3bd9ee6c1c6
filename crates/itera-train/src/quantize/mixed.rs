//! Which tensors of a mixed model get 8 bits: those that together save most within the bytes.

use anyhow::{Context as _, ensure};
use itera_cli::note;
use itera_core::{
    checkpoint::{Checkpoint, Precision},
    quant::{self, Options, Precisions},
};

use super::cost::Text;

/// What 8 bits in place of 4 do for a tensor.
struct Upgrade {
    name: String,
    /// Bits per byte that they save, the tensor alone being quantised.
    saves: f64,
    /// Bytes that they add.
    bytes: usize,
}

/// Int8 for some tensors and int4 for the others, so that a weight takes `target_bits` at most.
/// `options` are the ones of the int4 model; costs are measured on `text`.
pub(super) fn choose(
    source: &Checkpoint,
    options: &Options<'_>,
    text: &Text,
    target_bits: f64,
) -> anyhow::Result<Precisions> {
    let at = |precision: Precision| {
        let options = Options {
            precisions: precision.into(),
            ..options.clone()
        };
        let (checkpoint, _) = quant::quantize(source, &options)?;
        let costs = text.alone(source, &checkpoint)?;
        anyhow::Ok((checkpoint, costs))
    };
    let (int4, cost4) = at(Precision::Int4)?;
    let (int8, cost8) = at(Precision::Int8)?;
    let (least, most) = (int4.bits_per_weight(), int8.bits_per_weight());
    ensure!(
        target_bits >= least,
        "`--target-bits` is {target_bits}, below the {least:.3} bits per weight that all tensors \
         at int4 take; give {least:.3} to {most:.3}"
    );
    let mut upgrades = Vec::new();
    for (name, cost) in &cost4 {
        let (small, large) = (&int4.tensors[name], &int8.tensors[name]);
        // A row that int4 cannot store in groups is int8 in both.
        if small.precision() == large.precision() {
            continue;
        }
        let better = cost8
            .get(name)
            .with_context(|| format!("`{name}` was not rounded to int8"))?;
        upgrades.push(Upgrade {
            name: name.clone(),
            saves: cost - better,
            bytes: large.stored_bytes() - small.stored_bytes(),
        });
    }
    let room = (target_bits - least) / 8.0 * source.config.parameters() as f64;
    let chosen = take(&upgrades, room as usize);
    note(format_args!(
        "int8 for {} of {} tensors: {}",
        chosen.len(),
        cost4.len(),
        chosen.join(", ")
    ));
    let overrides = chosen
        .into_iter()
        .map(|name| (name.to_owned(), Precision::Int8));
    Ok(Precisions {
        overrides: overrides.collect(),
        ..Precision::Int4.into()
    })
}

/// The set that saves most of those that fit, taking what upgrades save to add up. Upgrades are added one by one to
/// the list of sets that no other beats in both bytes and savings (Nemhauser and Ullmann 1969, "Discrete
/// dynamic programming and capital allocation").
fn take(upgrades: &[Upgrade], room: usize) -> Vec<&str> {
    let mut sets = vec![Set::default()];
    for upgrade in upgrades {
        let larger: Vec<Set<'_>> = sets.iter().map(|set| set.with(upgrade)).collect();
        sets.extend(larger.into_iter().filter(|set| set.bytes <= room));
        sets.sort_by(|a, b| a.bytes.cmp(&b.bytes).then(b.saves.total_cmp(&a.saves)));
        let mut most = f64::NEG_INFINITY;
        sets.retain(|set| {
            let is_better = set.saves > most;
            most = most.max(set.saves);
            is_better
        });
    }
    sets.pop().unwrap_or_default().names
}

/// Some upgrades together.
#[derive(Clone, Default)]
struct Set<'a> {
    bytes: usize,
    saves: f64,
    names: Vec<&'a str>,
}

impl<'a> Set<'a> {
    fn with(&self, upgrade: &'a Upgrade) -> Self {
        let mut names = self.names.clone();
        names.push(&upgrade.name);
        Self {
            bytes: self.bytes + upgrade.bytes,
            saves: self.saves + upgrade.saves,
            names,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upgrade(name: &str, saves: f64, bytes: usize) -> Upgrade {
        Upgrade {
            name: name.to_owned(),
            saves,
            bytes,
        }
    }

    #[test]
    fn room_goes_to_the_set_that_saves_most() {
        let all = [
            upgrade("large", 0.010, 1000),
            upgrade("dense", 0.004, 100),
            upgrade("small", 0.001, 60),
            upgrade("worse", -0.001, 1),
        ];
        assert_eq!(take(&all, 0), Vec::<&str>::new());
        assert_eq!(take(&all, 100), ["dense"]);
        // The small one fits where the large one does not.
        assert_eq!(take(&all, 999), ["dense", "small"]);
        // The large one saves less for each byte than the two, and more in all.
        assert_eq!(take(&all, 1000), ["large"]);
        assert_eq!(take(&all, 1100), ["large", "dense"]);
        assert_eq!(take(&all, 9999), ["large", "dense", "small"]);
    }
}

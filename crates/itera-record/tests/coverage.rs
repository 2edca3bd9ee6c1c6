//! Intervals cover the truth as often as they say. Texts are drawn from documents that this project's
//! models have scored (60 articles of WikiText-2, every fifth story of the TinyStories selection), so that the truth, the
//! figure of all of them, is known.

use std::f64::consts::LN_2;

use itera_record::{Bootstrap, ci95};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

/// Texts that are drawn for each figure: the share found is exact to about a hundredth.
const TEXTS: u64 = 1000;

/// Fewer than in a result, for time: this makes intervals no wider.
const DRAWS: u64 = 300;

/// Bytes of each document and the nats that it took.
type Documents = Vec<(u64, f64)>;

/// The documents of a text: scored by one model, and the difference of two precisions of it.
fn documents(text: &str) -> [Documents; 2] {
    let csv = include_str!("fixtures/documents.csv");
    let rows = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let rows: Vec<(u64, f64, f64)> = rows
        .filter(|cells| cells[0] == text)
        .map(|cells| {
            let number = |i: usize| cells[i].parse::<f64>().unwrap();
            (cells[1].parse().unwrap(), number(2), number(3))
        })
        .collect();
    let score = rows.iter().map(|(bytes, fp32, _)| (*bytes, *fp32));
    let difference = rows.iter().map(|(bytes, fp32, int4)| (*bytes, int4 - fp32));
    [score.collect(), difference.collect()]
}

/// The share of texts of `n` documents whose interval holds the figure of all documents.
fn coverage(all: &Documents, n: usize, seed: u64) -> f64 {
    let (mut bytes, mut nats) = (0, 0.0);
    for document in all {
        bytes += document.0;
        nats += document.1;
    }
    let truth = nats / LN_2 / bytes as f64;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut covered = 0;
    for text in 0..TEXTS {
        let drawn = (0..n).map(|_| all[(rng.next_u64() % all.len() as u64) as usize]);
        let (bytes, nats): (Vec<u64>, Vec<f64>) = drawn.unzip();
        let bootstrap = Bootstrap {
            draws: DRAWS,
            seed: text,
        };
        let [low, high] = ci95(&nats, &bytes, bootstrap).unwrap();
        covered += u64::from(low <= truth && truth <= high);
    }
    covered as f64 / TEXTS as f64
}

#[test]
fn intervals_of_95_percent_cover_in_93_to_97_of_100_texts() {
    let mut failures = Vec::new();
    for text in ["wikitext", "stories"] {
        for (what, all) in ["score", "paired difference"].iter().zip(documents(text)) {
            for n in [10, 20, 60] {
                let share = coverage(&all, n, 1);
                if !(0.93..=0.97).contains(&share) {
                    failures.push(format!("{text}, {what}, {n} documents: {share}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

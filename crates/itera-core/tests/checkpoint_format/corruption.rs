//! Thousands of damaged files: none may panic, and none may load as anything but the original.

use itera_core::checkpoint::{Checkpoint, Precision};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use serde_json::{Value, json};

use crate::support::{self, data_start, edited, small};

fn below(rng: &mut ChaCha8Rng, end: usize) -> usize {
    rng.next_u32() as usize % end
}

fn files() -> [Vec<u8>; 3] {
    Precision::ALL.map(|precision| support::checkpoint(small(), precision).to_bytes().unwrap())
}

/// Whether a damaged file is refused. One that loads must mean exactly what the original meant.
fn refused(damaged: &[u8], original: &[u8]) -> bool {
    match Checkpoint::from_bytes(damaged) {
        Err(_) => true,
        Ok(read) => {
            assert!(
                read.to_bytes().unwrap() == original,
                "damage changed what a file means"
            );
            false
        }
    }
}

#[test]
fn flipped_bits() {
    const FLIPS_PER_SECTION: usize = 400;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut harmless = 0;
    for original in files() {
        let start = data_start(&original);
        let length_field = (0..64).map(|bit| (bit / 8, bit % 8));
        let in_header: Vec<_> = (0..FLIPS_PER_SECTION)
            .map(|_| (8 + below(&mut rng, start - 8), below(&mut rng, 8)))
            .collect();
        for (at, bit) in length_field.chain(in_header) {
            let mut damaged = original.clone();
            damaged[at] ^= 1 << bit;
            harmless += usize::from(!refused(&damaged, &original));
        }
        for _ in 0..FLIPS_PER_SECTION {
            let at = start + below(&mut rng, original.len() - start);
            let mut damaged = original.clone();
            damaged[at] ^= 1 << below(&mut rng, 8);
            assert!(
                refused(&damaged, &original),
                "a flip in the data at {at} went unseen"
            );
        }
    }
    assert!(harmless < 20, "{harmless} flips in headers went unseen");
}

#[test]
fn truncations_and_additions() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for original in files() {
        let start = data_start(&original);
        let mut lengths: Vec<usize> = (0..40).chain(start - 20..start + 20).collect();
        lengths.extend((1..20).map(|less| original.len() - less));
        for tensor in support::header(&original).as_object().unwrap().values() {
            if let Some(end) = tensor.pointer("/data_offsets/1").and_then(Value::as_u64) {
                let end = start + end as usize;
                lengths.extend([end - 1, end, end + 1]);
            }
        }
        lengths.extend((0..100).map(|_| below(&mut rng, original.len())));
        for length in lengths
            .into_iter()
            .filter(|length| *length < original.len())
        {
            assert!(
                refused(&original[..length], &original),
                "cut to {length} bytes"
            );
        }
        for more in [1, 4, 8, 4096] {
            let longer = [original.as_slice(), &vec![0; more]].concat();
            assert!(refused(&longer, &original), "{more} bytes added");
        }
    }
}

/// Numbers of the header replaced by extreme ones, digests fitting: only the checks of shapes,
/// offsets and sizes stand between this and a huge allocation.
#[test]
fn extreme_numbers_with_fitting_digests() {
    let extremes = [
        json!(0),
        json!(1),
        json!(-1),
        json!(3),
        json!(1 << 16),
        json!(u32::MAX),
        json!(1_u64 << 62),
        json!(u64::MAX),
        json!(1e300),
        json!(null),
    ];
    for original in files() {
        let sound = support::header(&original);
        let names: Vec<&String> = sound
            .as_object()
            .unwrap()
            .keys()
            .filter(|name| *name != "__metadata__")
            .collect();
        for name in names.iter().step_by(5) {
            for extreme in &extremes {
                for place in ["/shape/0", "/data_offsets/0", "/data_offsets/1", "/shape"] {
                    let damaged = edited(&original, |header, _| {
                        *header[name.as_str()].pointer_mut(place).unwrap() = extreme.clone();
                    });
                    if damaged != edited(&original, |_, _| ()) {
                        assert!(refused(&damaged, &original), "{name}{place} = {extreme}");
                    }
                }
            }
        }
    }
}

/// Other sizes in the config, digests fitting: what loads must hold together.
#[test]
fn other_configs_with_fitting_digests() {
    let [original, ..] = files();
    let config: Value = serde_json::to_value(small()).unwrap();
    for field in config.as_object().unwrap().keys() {
        for value in [0_u64, 1, 2, 3, 5, 64, 65_536, 65_537, u64::MAX] {
            let damaged = edited(&original, |header, _| {
                support::edit_json(header, "itera.config", |config| {
                    config[field] = value.into();
                });
            });
            // `top_k` and `chunk` are free of any shape, so that some of these are sound models.
            if let Ok(read) = Checkpoint::from_bytes(&damaged) {
                read.validate().unwrap();
                assert!(["top_k", "chunk"].contains(&field.as_str()) || config[field] == value);
            }
        }
    }
}

#[test]
fn noise() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let [original, ..] = files();
    for case in 0..600 {
        // Noise alone, noise behind a sound header, or a run of noise inside a sound file.
        let mut damaged = original.clone();
        let (begin, end) = match case % 3 {
            0 => (0, original.len().min(1 + below(&mut rng, 4096))),
            1 => (data_start(&original), original.len()),
            _ => {
                let begin = below(&mut rng, original.len() - 64);
                (begin, begin + 1 + below(&mut rng, 63))
            }
        };
        rng.fill_bytes(&mut damaged[begin..end]);
        if case % 6 == 0 {
            // A plausible header length, so that the noise is parsed.
            damaged[..8].copy_from_slice(&64_u64.to_le_bytes());
        }
        assert!(refused(&damaged, &original), "noise from {begin} to {end}");
    }
}

//! The promises of `Lanes`: nothing twice, hardly anything lost, targets one ahead, exact resume.

use std::collections::HashSet;

use itera_data::{LaneOptions, Lanes, LanesError, LanesPosition, Segment, TokenSet};
use proptest::prelude::*;

const END_OF_TEXT: u32 = 0;

/// Documents of these lengths in which every token has its own number, from 1 upwards.
fn numbered(lengths: &[usize]) -> TokenSet {
    let mut next = 1..;
    lengths
        .iter()
        .map(|&length| next.by_ref().take(length).collect::<Vec<u16>>())
        .collect()
}

/// One document.
fn set(document: &[u16]) -> TokenSet {
    [document].into_iter().collect()
}

fn options(batch: usize, length: usize, seed: u64) -> LaneOptions {
    LaneOptions {
        end_of_text: END_OF_TEXT,
        batch,
        length,
        seed,
    }
}

fn epoch(lanes: &mut Lanes) -> Vec<Segment> {
    (0..lanes.segments_per_epoch())
        .map(|_| lanes.next_segment())
        .collect()
}

/// What lane `lane` reads in these segments, `[segments * length]` of (input, target, reset).
fn lane(segments: &[Segment], lane: usize, length: usize) -> Vec<(u32, u32, bool)> {
    let rows = segments.iter().flat_map(|segment| {
        (lane * length..(lane + 1) * length)
            .map(|at| (segment.inputs[at], segment.targets[at], segment.resets[at]))
    });
    rows.collect()
}

prop_compose! {
    /// Sizes for which at least one segment exists.
    fn lanes()(
        lengths in prop::collection::vec(0_usize..40, 1..30),
        batch in 1_usize..5,
        length in 1_usize..9,
        seed in any::<u64>(),
    ) -> (Vec<usize>, LaneOptions) {
        let mut lengths = lengths;
        lengths.push(batch * length);
        (lengths, options(batch, length, seed))
    }
}

proptest! {
    #[test]
    fn an_epoch_holds_every_token_at_most_once_and_nearly_all(
        (lengths, options) in lanes(), skipped in 0_u64..3,
    ) {
        let mut lanes = Lanes::new(numbered(&lengths), options).unwrap();
        lanes.seek(LanesPosition { epoch: skipped, offset: 0 }).unwrap();
        let segments = epoch(&mut lanes);
        let inputs: Vec<u32> = segments.iter().flat_map(|segment| segment.inputs.clone()).collect();
        let tokens: HashSet<u32> =
            inputs.iter().copied().filter(|&token| token != END_OF_TEXT).collect();
        let separators = inputs.iter().filter(|&&token| token == END_OF_TEXT).count();

        prop_assert_eq!(tokens.len() + separators, inputs.len(), "a token occurs twice");
        prop_assert!(separators <= lengths.len());
        let all = lengths.iter().sum::<usize>() + lengths.len();
        prop_assert!(all - inputs.len() < lanes.tokens_per_segment());
        prop_assert!(segments.iter().all(|segment| segment.epoch == skipped));
    }

    #[test]
    fn lanes_are_continuous_and_targets_are_the_next_inputs((lengths, options) in lanes()) {
        let documents = numbered(&lengths);
        let starts: HashSet<u32> = documents
            .iter()
            .filter_map(|document| document.first().copied().map(u32::from))
            .collect();
        let mut lanes = Lanes::new(documents, options).unwrap();
        let segments = epoch(&mut lanes);
        let mut previous_end = None;
        for index in 0..options.batch {
            let row = lane(&segments, index, options.length);
            for (at, pair) in row.windows(2).enumerate() {
                prop_assert_eq!(pair[0].1, pair[1].0, "lane {} position {}", index, at);
            }
            for &(input, target, _) in &row {
                let follows = if input == END_OF_TEXT {
                    starts.contains(&target)
                } else {
                    target == input + 1 && !starts.contains(&target)
                };
                prop_assert!(follows || target == END_OF_TEXT, "{} after {}", target, input);
            }
            if let Some(target) = previous_end {
                prop_assert_eq!(target, row[0].0, "lane {} follows on the one before", index);
            }
            previous_end = row.last().map(|last| last.1);
        }
    }

    #[test]
    fn resets_mark_documents_and_the_first_step_of_an_epoch((lengths, options) in lanes()) {
        let mut lanes = Lanes::new(numbered(&lengths), options).unwrap();
        for _ in 0..2 {
            let segments = epoch(&mut lanes);
            for index in 0..options.batch {
                for (at, (input, _, reset)) in
                    lane(&segments, index, options.length).into_iter().enumerate()
                {
                    prop_assert_eq!(reset, input == END_OF_TEXT || at == 0);
                }
            }
        }
    }

    #[test]
    fn seek_reproduces_what_followed((lengths, options) in lanes(), steps in 0_usize..40) {
        let mut lanes = Lanes::new(numbered(&lengths), options).unwrap();
        for _ in 0..steps {
            lanes.next_segment();
        }
        let saved = serde_json::to_string(&lanes.position()).unwrap();
        let expected: Vec<_> = (0..10).map(|_| lanes.next_segment()).collect();

        let mut resumed = Lanes::new(numbered(&lengths), options).unwrap();
        resumed.seek(serde_json::from_str(&saved).unwrap()).unwrap();
        let found: Vec<_> = (0..10).map(|_| resumed.next_segment()).collect();
        prop_assert_eq!(&found, &expected);

        lanes.seek(serde_json::from_str(&saved).unwrap()).unwrap();
        prop_assert_eq!(&lanes.next_segment(), &expected[0]);
    }
}

#[test]
fn the_order_of_documents_depends_on_epoch_and_seed() {
    let lengths = [5; 40];
    let order = |seed, skipped| {
        let mut lanes = Lanes::new(numbered(&lengths), options(1, 6, seed)).unwrap();
        lanes
            .seek(LanesPosition {
                epoch: skipped,
                offset: 0,
            })
            .unwrap();
        epoch(&mut lanes)
            .into_iter()
            .map(|segment| segment.inputs[1])
            .collect::<Vec<_>>()
    };
    let orders: HashSet<_> = [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]
        .map(|(s, e)| order(s, e))
        .into();
    assert_eq!(orders.len(), 5);
    assert_eq!(order(1, 2), order(1, 2));
    // Pinned, so that a checkpoint resumes with the same order in later versions.
    assert_eq!(order(1, 0)[..6], [21, 56, 71, 136, 11, 166]);
}

#[test]
fn a_small_epoch_by_hand() {
    let mut lanes = Lanes::new(set(&[7, 8, 9]), options(2, 2, 0)).unwrap();
    assert_eq!(
        (lanes.segments_per_epoch(), lanes.tokens_per_segment()),
        (1, 4)
    );
    assert_eq!(
        lanes.next_segment(),
        Segment {
            inputs: vec![0, 7, 8, 9],
            targets: vec![7, 8, 9, 0],
            resets: vec![true, false, true, false],
            positions: vec![0, 1, 2, 3],
            epoch: 0,
        }
    );
    assert_eq!(
        lanes.position(),
        LanesPosition {
            epoch: 1,
            offset: 0
        }
    );
}

#[test]
fn impossible_lanes_are_refused_with_the_sizes() {
    let message = |batch, length| {
        Lanes::new(set(&[7, 8]), options(batch, length, 0))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(message(0, 1), "`batch` is 0, expected at least 1");
    assert_eq!(message(1, 0), "`length` is 0, expected at least 1");
    assert_eq!(
        message(2, 2),
        "3 tokens do not fill one segment of 2 lanes x 2 tokens; \
         use fewer lanes, a shorter length or more text"
    );
    assert!(matches!(
        Lanes::new(TokenSet::default(), options(usize::MAX, 2, 0)),
        Err(LanesError::TooShort { tokens: 0, .. })
    ));
    let mut lanes = Lanes::new(set(&[7, 8]), options(1, 1, 0)).unwrap();
    let error = lanes
        .seek(LanesPosition {
            epoch: 0,
            offset: 3,
        })
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("segment 3 does not exist, an epoch has 3;")
    );
    assert_eq!(lanes.position(), LanesPosition::default());
}

//! Weights that move while they read: `--adapt`.

use itera_testing::snapshot;

use crate::fixture::CliTest;

#[cfg(not(feature = "burn"))]
#[test]
fn a_build_without_the_feature_says_how_to_get_it() {
    let test = CliTest::new();
    snapshot!(test, "--checkpoint small --dataset stories.txt --adapt", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: this build cannot adapt weights; leave out `--adapt`, or build with `cargo build --release -p itera-validate --features burn`
    ");
}

#[test]
fn options_of_adaptation_need_it() {
    let test = CliTest::new();
    snapshot!(test, "--checkpoint small --dataset stories.txt --adapt-segment 8", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--adapt-learning-rate`, `--adapt-segment` and `--adapt-pull` need `--adapt`
    ");
}

#[cfg(feature = "burn")]
mod with_burn {
    use itera_core::checkpoint::{Checkpoint, Precision};
    use itera_record::ValidationRow;
    use itera_testing::{bytes, small_checkpoint};

    use super::*;

    fn row(test: &CliTest, arguments: &str) -> ValidationRow {
        let arguments = format!("--checkpoint small --dataset stories.txt {arguments}");
        test.record(&arguments, "row.json").rows.swap_remove(0)
    }

    #[test]
    fn the_static_score_is_that_of_weights_that_stay() {
        let test = CliTest::new();
        for protocol in ["document", "stream"] {
            let adapt = format!("--protocol {protocol} --adapt --adapt-segment 16");
            let still = row(&test, &format!("{adapt} --adapt-learning-rate 0"));
            let score = still.static_score.unwrap();
            assert_eq!(
                score.static_document_nll_nats,
                still.per_document.document_nll_nats
            );
            assert_eq!(score.gain.to_bits(), 0.0_f64.to_bits());
            // The native engine computes the same in another order.
            let native = row(&test, &format!("--protocol {protocol}"));
            let difference = (native.bits_per_byte - score.static_bits_per_byte).abs();
            assert!(difference < 1e-4, "{protocol}: {difference}");

            let moving = row(&test, &format!("{adapt} --adapt-learning-rate 0.01"));
            let beside = moving.static_score.unwrap();
            assert_eq!(
                beside.static_document_nll_nats,
                score.static_document_nll_nats
            );
            assert!(moving.bits_per_byte < score.static_bits_per_byte);
            // Each document has a last segment of its own.
            assert_eq!((moving.engine.as_str(), beside.updates), ("burn", 19));
        }
    }

    #[test]
    fn the_first_segment_is_scored_before_anything_is_learnt() {
        let test = CliTest::new();
        // The first document fits into one segment; the others come after an update.
        let row = row(
            &test,
            "--adapt --adapt-segment 64 --adapt-learning-rate 0.01",
        );
        let moving = &row.per_document.document_nll_nats;
        let still = &row.static_score.unwrap().static_document_nll_nats;
        assert_eq!(moving[0].to_bits(), still[0].to_bits());
        assert_ne!(moving[1].to_bits(), still[1].to_bits());
    }

    #[test]
    fn documents_apart_do_not_depend_on_each_other() {
        let test = CliTest::new();
        let adapt = "--adapt --adapt-segment 16 --adapt-learning-rate 0.01";
        let carried = row(&test, adapt);
        let apart = row(&test, &format!("{adapt} --adapt-per-document --threads 2"));
        let nats = |row: &ValidationRow| row.per_document.document_nll_nats.clone();
        assert_eq!(nats(&carried)[0].to_bits(), nats(&apart)[0].to_bits());
        assert_ne!(nats(&carried)[1].to_bits(), nats(&apart)[1].to_bits());
        let shard = row(&test, &format!("{adapt} --adapt-per-document --shard 2/2"));
        for (index, nats_there) in shard.per_document.document_indices.iter().zip(nats(&shard)) {
            assert_eq!(
                nats(&apart)[*index as usize].to_bits(),
                nats_there.to_bits()
            );
        }
    }

    #[test]
    fn the_protocol_says_so_and_is_compared_with_no_other() {
        let test = CliTest::new();
        row(&test, "");
        std::fs::rename(test.path("row.json"), test.path("static.json")).unwrap();
        row(&test, "--adapt");
        snapshot!(test, "compare static.json row.json", @r"
        success: false
        exit_code: 2
        ----- stdout -----

        ----- stderr -----
        error: cannot compare `static.json` with `row.json`: the protocols differ, `document` and `document, WEIGHTS MOVE (dynamic evaluation, segment 64, learning-rate #.####, pull #.###)`; score both with the same options
        ");
        snapshot!(test, "--checkpoint small --dataset stories.txt --adapt --adapt-segment 64 --adapt-learning-rate 0", @r"
        success: true
        exit_code: 0
        ----- stdout -----
        text         model  precision  bits/byte  perplexity/byte  /character  /word  verdict
        stories.txt  small  fp32          #.####          52#.###     54#.###  695 G  WORSE THAN A UNIFORM GUESS

        text         model  precision  zstd -19   PPMd  unigram  uniform  text by this model, bytes  model file, bytes  both, bytes  text by zstd, bytes
        stories.txt  small  fp32          #.###  #.###    #.###    #.###                        291             48,384       48,675                  181

        text         model  what learns  static, bits/byte  learning, bits/byte    gain
        stories.txt  small  weights                 #.####               #.####  0.00 %

        protocol document, WEIGHTS MOVE (dynamic evaluation, segment 64, learning-rate 0, pull #.###)
        stories.txt: documents 5, words 59, chars 255, bytes 257, bytes_scored_fraction 1.0; unknown text of 318 bytes; figures compare only at equal sha256

        ----- stderr -----
        scoring small (fp32) on stories.txt: 5 documents, 257 bytes
        scored in [TIME]
        warning: small on stories.txt is worse than a uniform guess: #.#### bits/byte against #.####; the checkpoint is untrained, broken, or made for other text
        ");
    }

    #[test]
    fn contradictions_are_refused() {
        let test = CliTest::new();
        let mut checkpoint: Checkpoint = small_checkpoint(bytes(), 1);
        checkpoint = itera_core::quant::quantize(
            &checkpoint,
            &itera_core::quant::Options::data_free(Precision::Int8),
        )
        .unwrap()
        .0;
        test.add_model("rounded", &checkpoint);
        let run = "--checkpoint small --dataset stories.txt --adapt";
        snapshot!(test, &format!("{run} --shard 1/2"), @r"
        success: false
        exit_code: 2
        ----- stdout -----

        ----- stderr -----
        error: `--shard` cannot be used with `--adapt`, whose weights are carried from each document to the next; leave out one of them, or add `--adapt-per-document`
        ");
        snapshot!(test, &format!("{run} --adapt-per-document --protocol stream"), @r"
        success: false
        exit_code: 2
        ----- stdout -----

        ----- stderr -----
        error: `--adapt-per-document` keeps documents apart, and `--protocol stream` does not; leave out one of them
        ");
        snapshot!(test, &format!("{run} --window 8"), @r"
        success: false
        exit_code: 2
        ----- stdout -----

        ----- stderr -----
        error: `--adapt` reads a text once, in order; use `--protocol document` or `--protocol stream`
        ");
        snapshot!(test, &format!("{run} --precision int8"), @r"
        success: false
        exit_code: 2
        ----- stdout -----

        ----- stderr -----
        error: `--kernel`, `--precision` and `--reference` are for weights that stay; leave them out with `--adapt`
        ");
        snapshot!(test, &format!("{run} --adapt-segment 0"), @r"
        success: false
        exit_code: 2
        ----- stdout -----

        ----- stderr -----
        error: `--adapt-segment` is 0, expected 1 to 4096
        ");
        snapshot!(test, &format!("{run} --adapt-learning-rate 2"), @r"
        success: false
        exit_code: 2
        ----- stdout -----

        ----- stderr -----
        error: `--adapt-learning-rate` is 2, expected 0 to 1
        ");
        snapshot!(test, &format!("{run} --adapt-pull NaN"), @r"
        success: false
        exit_code: 2
        ----- stdout -----

        ----- stderr -----
        error: `--adapt-pull` is NaN, expected 0 to 1
        ");
        snapshot!(test, "--checkpoint rounded --dataset stories.txt --adapt", @r"
        success: false
        exit_code: 2
        ----- stdout -----

        ----- stderr -----
        error: cannot run rounded: its weights are int8, and integers cannot move; give the fp32 checkpoint that it was made from
        ");
    }
}

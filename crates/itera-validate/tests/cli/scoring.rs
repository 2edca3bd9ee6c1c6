//! Scores: their output, their independence of threads and shards, and their value.

use itera_core::{model::Model, sampling::log_softmax_at};
use itera_record::{ValidationRecord, ValidationRow};
use itera_testing::{STORIES, bytes, small_checkpoint, snapshot};

use crate::fixture::{CliTest, characters, scale};

/// A row without what depends on the clock.
fn timeless(row: &ValidationRow) -> ValidationRow {
    ValidationRow {
        seconds: 0.0,
        tokens_per_s: 0.0,
        parts: Vec::new(),
        ..row.clone()
    }
}

fn bits(record: &ValidationRecord) -> Vec<u64> {
    let nll = &record.rows[0].per_document.document_nll_nats;
    [record.rows[0].nll_nats]
        .iter()
        .chain(nll)
        .map(|nats| nats.to_bits())
        .collect()
}

#[test]
fn a_table_is_the_result() {
    let test = CliTest::new();
    snapshot!(test, "--checkpoint small --dataset stories.txt", @r"
    success: true
    exit_code: 0
    ----- stdout -----
    text         model  precision  bits/byte  perplexity/byte  /character  /word  verdict
    stories.txt  small  fp32          #.####          52#.###     54#.###  695 G  WORSE THAN A UNIFORM GUESS

    text         model  precision  zstd -19   PPMd  unigram  uniform  text by this model, bytes  model file, bytes  both, bytes  text by zstd, bytes
    stories.txt  small  fp32          #.###  #.###    #.###    #.###                        291             48,384       48,675                  181

    protocol document
    stories.txt: documents 5, words 59, chars 255, bytes 257, bytes_scored_fraction 1.0; unknown text of 318 bytes; figures compare only at equal sha256

    ----- stderr -----
    scoring small (fp32, [KERNEL]) on stories.txt: 5 documents, 257 bytes
    scored in [TIME]
    warning: small on stories.txt is worse than a uniform guess: #.#### bits/byte against #.####; the checkpoint is untrained, broken, or made for other text
    ");
}

#[test]
fn json_and_csv_hold_the_same_numbers() {
    let test = CliTest::new();
    let arguments = "--checkpoint small --dataset sample --window 16 --stride 8 --csv rows.csv";
    let record = test.record(arguments, "out/result.json");
    let run = test
        .command(&format!("{arguments} --json"))
        .output()
        .unwrap();
    let printed: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(printed["schema"], "itera.validation/1");
    assert_eq!(printed["protocol"]["window_tokens"], 16);
    assert_eq!(
        printed["rows"][0]["nll_nats"].as_f64(),
        Some(record.rows[0].nll_nats)
    );

    let mut rows = csv::Reader::from_path(test.path("rows.csv")).unwrap();
    let headers = rows.headers().unwrap().clone();
    let column = |name: &str| headers.iter().position(|header| header == name).unwrap();
    let rows: Vec<_> = rows.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 2, "both samples");
    for (cells, row) in rows.iter().zip(&record.rows) {
        assert_eq!(cells[column("dataset")], row.dataset);
        assert_eq!(
            cells[column("bits_per_byte")].parse(),
            Ok(row.bits_per_byte)
        );
    }
}

#[test]
fn counts_are_those_of_the_text() {
    let test = CliTest::new();
    let record = test.record("--checkpoint small --dataset stories.txt", "r.json");
    let row = &record.rows[0];
    let stories: Vec<&str> = STORIES
        .split("\n<|endoftext|>\n")
        .map(str::trim_end)
        .collect();
    let sum = |size: &dyn Fn(&str) -> usize| stories.iter().map(|s| size(s) as u64).sum::<u64>();
    assert_eq!(row.documents, 5);
    assert_eq!(row.bytes, sum(&str::len));
    assert_eq!(row.tokens, row.bytes);
    assert_eq!(row.chars, sum(&|story| story.chars().count()));
    assert_eq!(row.words, sum(&|story| story.split_whitespace().count()));
    assert_eq!(row.bytes_scored_fraction.to_bits(), 1.0_f64.to_bits());
    assert_eq!(row.split, "all");
    let identity = row.bits_per_byte.exp2() / row.byte_perplexity;
    assert!((identity - 1.0).abs() < 1e-9);
}

#[test]
fn likelihoods_are_those_of_the_model_token_by_token() {
    let test = CliTest::new();
    let record = test.record("--checkpoint small --dataset stories.txt", "r.json");
    let checkpoint = small_checkpoint(bytes(), 1);
    let model = Model::from_checkpoint(&checkpoint).unwrap();
    let stories = STORIES.split("\n<|endoftext|>\n").map(str::trim_end);
    for (story, &found) in stories.zip(&record.rows[0].per_document.document_nll_nats) {
        let (mut state, mut work) = (model.new_state(), model.new_workspace());
        let mut previous = checkpoint.tokenizer.end_of_text();
        let mut expected = 0.0;
        for token in checkpoint.tokenizer.encode(story.as_bytes()).unwrap() {
            expected -= log_softmax_at(model.step(previous, &mut state, &mut work), token as usize);
            previous = token;
        }
        assert!(
            (found - expected).abs() < 1e-5 * expected,
            "{found} {expected}"
        );
    }
}

#[test]
fn threads_and_shards_change_no_bit() {
    let test = CliTest::new();
    for protocol in ["document", "window --window 16 --stride 5"] {
        let arguments = format!("--checkpoint small --dataset stories.txt --protocol {protocol}");
        let whole = test.record(&format!("{arguments} --threads 1"), "whole.json");
        for threads in [2, 4] {
            let other = test.record(&format!("{arguments} --threads {threads}"), "other.json");
            assert_eq!(bits(&other), bits(&whole), "{protocol}, {threads} threads");
        }
        for shard in 1..=3 {
            let part = test.record(
                &format!("{arguments} --shard {shard}/3"),
                &format!("{shard}.json"),
            );
            assert!(part.rows[0].bytes_scored_fraction < 1.0);
        }
        let merged = test.record("merge 3.json 1.json 2.json", "merged.json");
        assert_eq!(bits(&merged), bits(&whole), "{protocol}, shards");
        assert_eq!(timeless(&merged.rows[0]), timeless(&whole.rows[0]));
    }
}

#[test]
fn limits_count_only_what_was_scored() {
    let test = CliTest::new();
    let whole = test.record("--checkpoint small --dataset stories.txt", "whole.json");
    let limited = |limit: &str| {
        let arguments = format!("--checkpoint small --dataset stories.txt {limit}");
        test.record(&arguments, "limited.json").rows.remove(0)
    };
    let nll = &whole.rows[0].per_document.document_nll_nats;
    let two = limited("--limit-documents 2");
    assert_eq!(
        (two.documents, &two.per_document.document_nll_nats[..]),
        (2, &nll[..2])
    );
    assert!(two.bytes_scored_fraction < 1.0);

    let first_len = whole.rows[0].per_document.document_bytes[0];
    let cut = limited(&format!("--max-tokens {}", first_len + 8));
    assert_eq!(
        (cut.documents, cut.tokens, cut.bytes),
        (2, first_len + 8, first_len + 8)
    );
    // "The caf\u{e9}" without the second byte of its accent.
    assert_eq!(cut.chars, whole.rows[0].per_document.document_bytes[0] + 8);
    assert_eq!(
        cut.per_document.document_nll_nats[0].to_bits(),
        nll[0].to_bits()
    );
    assert!(cut.per_document.document_nll_nats[1] < nll[1]);
}

#[test]
fn shards_apply_after_limits() {
    let test = CliTest::new();
    let arguments = "--checkpoint small --dataset stories.txt --max-tokens 120";
    let whole = test.record(arguments, "whole.json");
    for shard in 1..=2 {
        test.record(
            &format!("{arguments} --shard {shard}/2"),
            &format!("{shard}.json"),
        );
    }
    let merged = test.record("merge 1.json 2.json", "merged.json");
    assert_eq!(merged.rows[0].tokens, 120);
    assert_eq!(timeless(&merged.rows[0]), timeless(&whole.rows[0]));
}

#[test]
fn a_stream_differs_from_documents_after_the_first() {
    let test = CliTest::new();
    let score = |protocol: &str| {
        let arguments =
            format!("--checkpoint small --dataset stories.txt --protocol {protocol} --threads 2");
        test.record(&arguments, "r.json")
            .rows
            .remove(0)
            .per_document
            .document_nll_nats
    };
    let (document, stream) = (score("document"), score("stream"));
    assert_eq!(document[0].to_bits(), stream[0].to_bits());
    assert!(
        document[1..]
            .iter()
            .zip(&stream[1..])
            .all(|(a, b)| a.to_bits() != b.to_bits())
    );
}

#[test]
fn characters_outside_the_vocabulary_are_said_aloud() {
    let test = CliTest::new();
    let unaccented = STORIES.replace(['\u{e9}', '\u{eb}'], "e");
    test.add_model("letters", &small_checkpoint(characters(&unaccented), 2));
    let arguments = "--checkpoint letters --dataset stories.txt";
    snapshot!(test, arguments, @r"
    success: true
    exit_code: 0
    ----- stdout -----
    text         model    precision  bits/byte  perplexity/byte  /character  /word  verdict
    stories.txt  letters  fp32          #.####           7#.###      7#.###  144 M  WORSE THAN A UNIFORM GUESS; INCOMPLETE: 2 characters unknown

    text         model    precision  zstd -19   PPMd  unigram  uniform  text by this model, bytes  model file, bytes  both, bytes  text by zstd, bytes
    stories.txt  letters  fp32          #.###  #.###    #.###    #.###                        200             31,992       32,192                  181

    protocol document
    stories.txt: documents 5, words 59, chars 255, bytes 257, bytes_scored_fraction 1.0; unknown text of 318 bytes; figures compare only at equal sha256

    ----- stderr -----
    scoring letters (fp32, [KERNEL]) on stories.txt: 5 documents, 257 bytes
    scored in [TIME]
    warning: letters on stories.txt is worse than a uniform guess: #.#### bits/byte against #.####; the checkpoint is untrained, broken, or made for other text
    warning: letters on stories.txt: 2 of 255 characters are outside the model's vocabulary; the score holds that an unknown character stood there, not which one, so it is lower than a complete one and compares with no other
    ");
    let record = test.record(arguments, "r.json");
    assert_eq!(record.rows[0].unknown_tokens, 2);
    assert_eq!(record.rows[0].tokens, record.rows[0].chars);
    let cut = test.record(&format!("{arguments} --max-tokens 62"), "r.json");
    assert_eq!(cut.rows[0].chars, 62);
    assert_eq!(cut.rows[0].bytes, 63, "the accent has two bytes");
}

#[test]
fn text_that_is_not_utf8_is_scored_as_bytes() {
    let test = CliTest::new();
    test.write("latin1.txt", b"caf\xe9 au lait\n");
    let record = test.record("--checkpoint small --dataset latin1.txt", "r.json");
    assert_eq!((record.rows[0].bytes, record.rows[0].tokens), (13, 13));
    assert_eq!(record.rows[0].bits_per_byte_ci95, None, "a single document");
}

#[test]
fn a_model_worse_than_uniform_is_called_that() {
    let test = CliTest::new();
    let mut checkpoint = small_checkpoint(bytes(), 1);
    scale(&mut checkpoint, "final_norm.weight", 20.0);
    test.add_model("loud", &checkpoint);
    snapshot!(test, "--checkpoint loud --dataset stories.txt --limit-documents 1", @r"
    success: true
    exit_code: 0
    ----- stdout -----
    text         model  precision  bits/byte  perplexity/byte  /character     /word  verdict
    stories.txt  loud   fp32         9#.####          2.33e27     2.33e27  3.91e118  WORSE THAN A UNIFORM GUESS; only 20.23 % of the text

    text         model  precision  zstd -19   PPMd  unigram  uniform  text by this model, bytes  model file, bytes  both, bytes  text by zstd, bytes
    stories.txt  loud   fp32          #.###  #.###    #.###    #.###                        591             48,384       48,975                   61

    protocol document, limit-documents 1
    stories.txt: documents 1, words 12, chars 52, bytes 52, bytes_scored_fraction #.####; unknown text of 318 bytes; figures compare only at equal sha256

    ----- stderr -----
    scoring loud (fp32, [KERNEL]) on stories.txt: 1 documents, 52 bytes
    scored in [TIME]
    warning: loud on stories.txt is worse than a uniform guess: 9#.#### bits/byte against #.####; the checkpoint is untrained, broken, or made for other text
    ");
}

#[test]
fn compressors_stand_beside_the_model_whose_file_counts_too() {
    let test = CliTest::new();
    let row = |arguments: &str| {
        let arguments = format!("--checkpoint small --dataset sample-tinystories {arguments}");
        test.record(&arguments, "r.json").rows.remove(0)
    };
    let with = row("");
    let (zstd, ppmd) = (
        with.baselines.zstd_bits_per_byte,
        with.baselines.ppmd_bits_per_byte,
    );
    assert!(ppmd.unwrap() < zstd.unwrap(), "{zstd:?} {ppmd:?}");
    assert_eq!(
        with.baselines.primed_with, None,
        "a sample has no training text"
    );
    let code = with.code_length.unwrap();
    let file = std::fs::metadata(test.path("models/small.safetensors"))
        .unwrap()
        .len();
    assert_eq!(code.model_file_bytes, file);
    assert_eq!(code.total_bytes, code.text_bytes + file);
    let without = row("--no-baselines");
    assert_eq!(without.baselines.zstd_bits_per_byte, None);
    assert_eq!(without.baselines.ppmd_bits_per_byte, None);
    assert_eq!(without.nll_nats.to_bits(), with.nll_nats.to_bits());
}

#[test]
fn a_compressor_is_primed_with_the_training_split_where_it_is_there() {
    let test = CliTest::new();
    test.write("data/tinystories/valid.txt", STORIES);
    let row = || {
        let arguments = "--checkpoint small --dataset tinystories --output r.json --json";
        let mut command = test.command(arguments);
        let run = command
            .env("ITERA_DATA_DIR", test.path("data"))
            .output()
            .unwrap();
        let record: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
        record["rows"][0]["baselines"].clone()
    };
    assert!(row()["ppmd_primed_bits_per_byte"].is_null());
    test.write(
        "data/tinystories/train.txt",
        [STORIES; 2].join("<|endoftext|>\n"),
    );
    let baselines = row();
    let bits = |name: &str| baselines[name].as_f64().unwrap();
    // It has read the very text.
    assert!(
        2.0 * bits("ppmd_primed_bits_per_byte") < bits("ppmd_bits_per_byte"),
        "{baselines}"
    );
    assert_eq!(baselines["primed_with"]["split"], "train");
}

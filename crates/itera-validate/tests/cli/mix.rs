//! N-grams of what was read, mixed with the model: `--mix`.

use itera_record::ValidationRow;
use itera_testing::snapshot;

use crate::fixture::CliTest;

const RUN: &str = "--checkpoint small --dataset stories.txt --mix";

fn row(test: &CliTest, arguments: &str, output: &str) -> ValidationRow {
    let arguments = format!("--checkpoint small --dataset stories.txt {arguments}");
    test.record(&arguments, output).rows.swap_remove(0)
}

#[test]
fn documents_are_apart_and_the_model_alone_stands_beside() {
    let test = CliTest::new();
    let alone = row(&test, "", "alone.json");
    let mixed = row(&test, "--mix --threads 3", "mixed.json");
    let beside = mixed.static_score.unwrap();
    let alone = &alone.per_document.document_nll_nats;
    assert_eq!(&beside.static_document_nll_nats, alone);
    assert_eq!(beside.updates, 0);
    // What this model says of a text is so bad that counts of its bytes are better.
    assert!(beside.gain > 0.2, "{}", beside.gain);
    let mixed = &mixed.per_document.document_nll_nats;
    // Parts of the documents give the same, since nothing is carried from one to the next.
    for shard in [1, 2] {
        let part = row(&test, &format!("--mix --shard {shard}/2"), "part.json").per_document;
        for (index, nats) in part.document_indices.iter().zip(part.document_nll_nats) {
            assert_eq!(mixed[*index as usize].to_bits(), nats.to_bits());
        }
    }
}

#[test]
fn a_stream_carries_the_counts() {
    let test = CliTest::new();
    let apart = row(&test, "--mix", "apart.json").per_document;
    let carried = row(&test, "--mix --protocol stream", "carried.json").per_document;
    let (apart, carried) = (apart.document_nll_nats, carried.document_nll_nats);
    assert_eq!(apart[0].to_bits(), carried[0].to_bits());
    assert!(carried[1..].iter().sum::<f64>() < apart[1..].iter().sum());
}

#[test]
fn the_protocol_says_so_and_is_compared_with_no_other() {
    let test = CliTest::new();
    row(&test, "", "alone.json");
    row(&test, "--mix", "mixed.json");
    snapshot!(test, "compare alone.json mixed.json", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot compare `alone.json` with `mixed.json`: the protocols differ, `document` and `document, N-GRAMS MIXED IN (adaptive mix, order 4, discount 0.6)`; score both with the same options
    ");
    snapshot!(test, RUN, @r"
    success: true
    exit_code: 0
    ----- stdout -----
    text         model  precision  bits/byte  perplexity/byte  /character  /word  verdict
    stories.txt  small  fp32          #.####           9#.###     10#.###  515 M  worse than token frequencies

    text         model  precision  zstd -19   PPMd  unigram  uniform  text by this model, bytes  model file, bytes  both, bytes  text by zstd, bytes
    stories.txt  small  fp32          #.###  #.###    #.###    #.###                        214             48,384       48,598                  181

    text         model  what learns  static, bits/byte  learning, bits/byte     gain
    stories.txt  small  n-grams                 #.####               #.####  26.44 %

    protocol document, N-GRAMS MIXED IN (adaptive mix, order 4, discount 0.6)
    stories.txt: documents 5, words 59, chars 255, bytes 257, bytes_scored_fraction 1.0; unknown text of 318 bytes; figures compare only at equal sha256

    ----- stderr -----
    scoring small (fp32, [KERNEL]) on stories.txt: 5 documents, 257 bytes
    scored in [TIME]
    ");
}

#[test]
fn contradictions_are_refused() {
    let test = CliTest::new();
    snapshot!(test, &format!("{RUN} --protocol window"), @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--mix` reads a text once, in order; use `--protocol document` or `--protocol stream`
    ");
    snapshot!(test, &format!("{RUN} --reference fp32"), @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--reference` compares predictions of the model alone; leave it out with `--mix`
    ");
}

//! Precisions, kernels and the comparison with a reference.

use itera_core::kernels::Kernel;
use itera_record::ValidationRow;
use itera_testing::snapshot;

use crate::fixture::CliTest;

#[test]
fn all_precisions_are_scored_side_by_side() {
    let test = CliTest::new();
    let record = test.record(
        "--checkpoint small --dataset stories.txt --precision all",
        "r.json",
    );
    let precisions: Vec<&str> = record
        .rows
        .iter()
        .map(|row| row.precision.as_str())
        .collect();
    assert_eq!(precisions, ["fp32", "int8", "int4"]);
    let plain = &record.rows[0];
    for (row, bound) in record.rows.iter().zip([0.0, 0.02, 0.3]) {
        assert_eq!(row.baselines, plain.baselines);
        assert_eq!(row.kernel.as_deref(), Some(Kernel::best().name()));
        let loss = (row.bits_per_byte / plain.bits_per_byte - 1.0).abs();
        assert!(loss <= bound, "{}: {loss}", row.precision);
        assert!(row.model.bytes <= plain.model.bytes);
    }
    assert_ne!(record.rows[1].nll_nats.to_bits(), plain.nll_nats.to_bits());
}

#[test]
fn weights_rounded_in_memory_are_said_to_be() {
    snapshot!(
        CliTest::new(),
        "--checkpoint small --dataset stories.txt --limit-documents 1 --precision int8",
        @r"
        success: true
        exit_code: 0
        ----- stdout -----
        text         model  precision  bits/byte  perplexity/byte  /character  /word  verdict
        stories.txt  small  int8          #.####          52#.###     52#.###  605 G  WORSE THAN A UNIFORM GUESS; only 20.23 % of the text

        text         model  precision  zstd -19   PPMd  unigram  uniform  text by this model, bytes  model file, bytes  both, bytes  text by zstd, bytes
        stories.txt  small  int8          #.###  #.###    #.###    #.###                         59             15,693       15,752                   61

        protocol document, limit-documents 1
        stories.txt: documents 1, words 12, chars 52, bytes 52, bytes_scored_fraction #.####; unknown text of 318 bytes; figures compare only at equal sha256
        note: small has no int8 file made from it beside it, so its weights were rounded in memory; `itera-train quantize` makes a better one

        ----- stderr -----
        scoring small (int8, [KERNEL]) on stories.txt: 1 documents, 52 bytes
        scored in [TIME]
        warning: small on stories.txt is worse than a uniform guess: #.#### bits/byte against #.####; the checkpoint is untrained, broken, or made for other text
        "
    );
}

#[test]
fn every_kernel_gives_the_same_score_but_for_rounding() {
    let test = CliTest::new();
    let score = |kernel: &str, precision: &str| -> ValidationRow {
        let line = format!(
            "--checkpoint small --dataset stories.txt --kernel {kernel} --precision {precision}"
        );
        test.record(&line, "r.json").rows.remove(0)
    };
    for precision in ["fp32", "int8", "int4"] {
        let expected = score("scalar", precision);
        assert_eq!(expected.kernel.as_deref(), Some("scalar"));
        for kernel in Kernel::available() {
            let found = score(kernel.name(), precision);
            assert_eq!(found.kernel.as_deref(), Some(kernel.name()));
            let error = (found.nll_nats / expected.nll_nats - 1.0).abs();
            assert!(error < 1e-4, "{kernel} {precision}: {error}");
        }
    }
}

#[test]
fn a_reference_shows_what_a_precision_changes() {
    let test = CliTest::new();
    let line = "--checkpoint small --dataset stories.txt --precision all --reference fp32";
    let record = test.record(line, "r.json");
    let divergence = |row: &ValidationRow| row.divergence.clone().expect("asked for");
    let [plain, int8, int4] = [0, 1, 2].map(|i| divergence(&record.rows[i]));
    assert_eq!(plain.mean_kl_nats.to_bits(), 0.0_f64.to_bits());
    assert_eq!(plain.top1_agreement.to_bits(), 1.0_f64.to_bits());
    assert!(
        plain
            .state_errors
            .iter()
            .all(|error| error.relative_error == 0.0)
    );
    assert!(0.0 < int8.mean_kl_nats && int8.mean_kl_nats < int4.mean_kl_nats);
    assert!(int4.p99_kl_nats <= int4.p999_kl_nats);
    assert_eq!(int8.tokens, record.rows[1].tokens);
    // The stories have 257 bytes: one of the steps.
    let steps: Vec<u64> = int8.state_errors.iter().map(|error| error.steps).collect();
    assert_eq!(steps, [64]);
    assert!(int8.state_errors[0].relative_error < int4.state_errors[0].relative_error);

    let plain = test.record("--checkpoint small --dataset stories.txt", "plain.json");
    assert_eq!(plain.rows[0].divergence, None);
    assert_eq!(
        plain.rows[0].nll_nats.to_bits(),
        record.rows[0].nll_nats.to_bits()
    );
}

#[test]
fn kernels_and_references_that_cannot_be() {
    let test = CliTest::new();
    snapshot!(test, "--checkpoint small --dataset stories.txt --kernel mmx", @r#"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: no kernel is called "mmx"; kernels of this processor are [KERNELS]; give one of these with `--kernel`
    "#);
    let foreign = if cfg!(target_arch = "x86_64") {
        "neon"
    } else {
        "avx2"
    };
    let line = format!("--checkpoint small --dataset stories.txt --kernel {foreign}");
    let run = test.command(&line).output().unwrap();
    assert_eq!(run.status.code(), Some(2));
    let message = String::from_utf8(run.stderr).unwrap();
    assert!(message.contains("cannot run the kernel"), "{message}");
    assert!(message.contains("scalar"), "{message}");
    snapshot!(
        test,
        "--checkpoint small --dataset stories.txt --protocol stream --reference fp32",
        @r"
        success: false
        exit_code: 2
        ----- stdout -----

        ----- stderr -----
        error: `--reference` compares documents from a fresh state; use `--protocol document`
        "
    );
    snapshot!(
        test,
        "--checkpoint small --dataset stories.txt --engine burn --kernel scalar",
        @r"
        success: false
        exit_code: 2
        ----- stdout -----

        ----- stderr -----
        error: `--kernel` and `--reference` are for the native engine; leave out `--engine burn`
        "
    );
    snapshot!(test, "--checkpoint small --dataset stories.txt --precision int2", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: invalid value 'int2' for '--precision <PRECISION>'
      [possible values: fp32, int8, int4, all]

      tip: a similar value exists: 'int4'

    For more information, try '--help'.
    ");
}

//! Every bad input ends with exit status 2 and one message that says what to do.

use itera_testing::snapshot;

use crate::fixture::CliTest;

const HEADER: &str = "name,kind,cores,tdp_watts,idle_share,idle_watts,relative_speed,source,date\n";

#[test]
fn help() {
    let test = CliTest::new();
    snapshot!(test, "--help", @r"
    success: true
    exit_code: 0
    ----- stdout -----
    Measure time, memory and energy per token of checkpoints, with their uncertainty.

    Without arguments, every shipped checkpoint is measured at every precision, and the result is
    written to results/power.json and results/power-samples.csv. Every row is measured by processes of
    its own. Energy is measured where the machine has a counter that works, and estimated from the TDP
    of platforms.

    Exit status: 0 done, 1 slower or larger than the baseline permits, 2 could not run or compare.

    Usage: itera-power [OPTIONS]

    Options:
          --checkpoint <NAME|PATH>
              Checkpoint by name or path; may be repeated [default: every shipped one]

          --precision <PRECISION>
              Precision of the weights; all are those that the checkpoint has [default: all]

              Possible values:
              - fp32: 32-bit floats; quantised weights are unpacked
              - int8: 8-bit integers with a scale for each group
              - int4: 4-bit integers with a scale for each group
              - all:  One after the other

          --platform <NAME,...>
              Platforms to estimate energy for, by name [default: desktop,laptop,embedded, or all of
              --platforms]

          --platforms <FILE.csv>
              Platforms of your own: a CSV file with the columns of data/platforms.csv, read in its
              place

          --processes <N>
              Processes that measure each row, one after the other [default: 10]

          --samples <N>
              Samples of each process [default: 5]

          --seq-len <N>
              Tokens of a pass [default: 128]

          --mode <MODE>
              Read a prompt (prefill), write a text (decode) [default: both]

              Possible values:
              - prefill: Reads a prompt, a chunk at a time
              - decode:  Writes a text, a token at a time
              - both:    One after the other

          --threads <N>
              Passes side by side, one thread each [default: 1]

          --min-seconds <S>
              Seconds that the samples of a row take together [default: 1.5, or less where there are
              many rows]; 60 for figures to publish

          --carbon-intensity <G>
              Grams of CO2 equivalent for a kilowatt-hour [default: 475, the world's mean of 2019 by the
              IEA]

          --validation <FILE>
              Take bits per byte from this result of itera-validate, so that the gate sees it

          --output <FILE>
              File for the result as JSON [without other arguments: results/power.json]

          --csv <FILE>
              File for all samples as CSV [without other arguments: results/power-samples.csv]

          --emissions-csv <FILE>
              Append a row in the form of codecarbon's emissions.csv to this file: by a counter, or for
              this machine or the one platform that is named

          --baseline <FILE|PROGRAM>
              Compare with this result, or with this other build of the program, which is then measured
              in turns with this one; exit with status 1 if something became worse

          --max-regression <PCT>
              Percent by which time and energy may exceed the baseline's [default: 10]

          --json
              Print the JSON on standard output instead of the tables

      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    ----- stderr -----
    ");
}

#[test]
fn numbers_out_of_range() {
    let test = CliTest::new();
    snapshot!(test, "--samples 1 --processes 1", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--processes` and `--samples` are 1; one sample has no spread
    ");
    snapshot!(test, "--seq-len 0", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--seq-len` is 0, expected 1 to 1048576
    ");
    snapshot!(test, "--min-seconds NaN", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--min-seconds` is NaN, expected 0 to 86400
    ");
    snapshot!(test, "--precision int2", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: invalid value 'int2' for '--precision <PRECISION>'
      [possible values: fp32, int8, int4, all]

      tip: a similar value exists: 'int4'

    For more information, try '--help'.
    ");
    snapshot!(test, "--max-regression 5", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: the following required arguments were not provided:
      --baseline <FILE|PROGRAM>

    Usage: itera-power --baseline <FILE|PROGRAM> --max-regression <PCT>

    For more information, try '--help'.
    ");
}

#[test]
fn checkpoints_that_are_not_there() {
    let test = CliTest::new();
    snapshot!(test, "--checkpoint nowhere", @r#"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: no checkpoint is called "nowhere"; looked for [PLACES]; models that exist: [MODELS]; give one of these, a path, or set ITERA_MODELS_DIR
    "#);
    snapshot!(test, "--checkpoint small --checkpoint small --precision fp32", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: two checkpoints are called `small` at fp32; give each once, or rename a file
    ");
}

#[test]
fn platforms_that_are_none() {
    let test = CliTest::new();
    snapshot!(test, "--platform phone", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: no platform is called `phone`; `data/platforms.csv` has desktop, laptop, embedded, raspberry-pi-4, core-i9-13900k, core-i7-12700h, core-i5-1135g7, ryzen-9-7950x, intel-n100, apple-m1
    ");
    snapshot!(test, "--platforms nowhere.csv", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot read the platforms `nowhere.csv`: No such file or directory (os error 2); give a CSV file like data/platforms.csv
    ");
    test.write(
        "idle.csv",
        format!("{HEADER}mine,a board,4,5,,6,,a meter,2026\n"),
    );
    snapshot!(test, "--platforms idle.csv", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `idle.csv`, line 2: idle_watts is 6, expected 0 to tdp_watts, 5
    ");
    test.write(
        "negative.csv",
        format!("{HEADER}mine,a board,4,-5,0.2,,,a meter,2026\n"),
    );
    snapshot!(test, "--platforms negative.csv", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `negative.csv`, line 2: tdp_watts is -5, expected above 0 and at most 10000
    ");
    let row = "mine,a board,4,5,0.2,,,a meter,2026\n";
    test.write("twice.csv", format!("{HEADER}{row}{row}"));
    snapshot!(test, "--platforms twice.csv", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `twice.csv`, line 3: the name `mine` stands in line 2 already; give another
    ");
    test.write("columns.csv", "name,watts\nmine,5\n");
    snapshot!(test, "--platforms columns.csv", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `columns.csv`, line 1: there is no column kind; the columns are those of data/platforms.csv
    ");
}

#[test]
fn files_that_cannot_be_written_or_read() {
    let test = CliTest::new();
    snapshot!(test, "--checkpoint small --output models", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot write `models`: it is a directory, expected the name of a file; give another file for `--output`, or make its folder writable
    ");
    snapshot!(test, "--checkpoint small --output a.json --csv a.json", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--output` and `--csv` are the same file, `a.json`; name another for `--csv`
    ");
    test.write("other.csv", "a,b\n1,2\n");
    snapshot!(test, "--checkpoint small --emissions-csv other.csv", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `other.csv` has no column `timestamp`, so it is no emissions.csv of CodeCarbon; give another `--emissions-csv`
    ");
    snapshot!(test, "--checkpoint small --validation other.csv", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `other.csv` is not what `itera-validate --output` writes: not a record of this form: expected value at line 1 column 1
    ");
}

#[test]
fn baselines_that_are_none() {
    let test = CliTest::new();
    snapshot!(test, "--checkpoint small --baseline nowhere.json", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot compare: cannot read the baseline `nowhere.json`; make one with `--output`, or give another build of this program: No such file or directory (os error 2)
    ");
    test.write("other.json", "{\"schema\": \"itera.validation/1\"}");
    snapshot!(test, "--checkpoint small --baseline other.json", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot compare: `other.json` is not what `itera-power --output` writes: field `schema` is `itera.validation/1`, expected `itera.power/2`
    ");
    test.write("half.json", "{\"schema\": \"itera.po");
    snapshot!(test, "--checkpoint small --baseline half.json", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot compare: `half.json` is not what `itera-power --output` writes: not a record of this form: EOF while parsing a string at line 1 column 20
    ");
}

#[test]
fn an_output_is_none_of_the_other_files() {
    let test = CliTest::new();
    let platforms = include_bytes!("../../../../data/platforms.csv");
    test.write("platforms.csv", platforms);
    for line in [
        "--output ./a.json --csv a.json",
        "--output models/small.safetensors",
        "--csv models/../a.json --emissions-csv a.json",
        "--platforms platforms.csv --csv platforms.csv",
    ] {
        let run = test.run(&format!("--checkpoint small {line}"));
        let said = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(2), "{line}: {said}");
        assert!(said.contains("are the same file"), "{line}: {said}");
    }
    assert_eq!(
        std::fs::read(test.path("platforms.csv")).unwrap(),
        platforms
    );
}

//! Every bad input ends with exit status 2 and one message that says what to do.

use itera_testing::{bytes, skip, small_checkpoint, snapshot};
use std::{fs, path::Path};

use crate::fixture::{CliTest, characters};

/// Whether a developer has put the real text into the workspace, where the program finds it.
fn fetched(folder: &str) -> bool {
    let there = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../data")
        .join(folder)
        .exists();
    if there {
        skip(&format!(
            "data/{folder} is there, so that its absence cannot be tested"
        ));
    }
    there
}

#[test]
fn what_would_be_ignored_or_scored_twice() {
    let test = CliTest::new();
    snapshot!(test, "--checkpoint small --dataset stories.txt --split valid", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: stories.txt has no splits, so it has no valid; leave out `--split`
    ");
    snapshot!(test, "--checkpoint small --checkpoint small --dataset stories.txt", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: the checkpoint small is given twice; give each once
    ");
}

#[test]
fn numbers_out_of_range() {
    let test = CliTest::new();
    snapshot!(test, "--checkpoint small --dataset stories.txt --window 0", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--window` is 0, expected at least 1
    ");
    snapshot!(test, "--checkpoint small --dataset stories.txt --window 8 --stride 9", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--stride` is 9, above the window of 8 tokens, so that tokens between windows would never be scored; give a stride from 1 to 8
    ");
    snapshot!(test, "--checkpoint small --dataset stories.txt --shard 3/2", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: invalid value '3/2' for '--shard <I/N>': there is no such shard, expected I/N with I from 1 to N, for example 1/3

    For more information, try '--help'.
    ");
    snapshot!(test, "--checkpoint small --dataset stories.txt --shard 0/2", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: invalid value '0/2' for '--shard <I/N>': there is no such shard, expected I/N with I from 1 to N, for example 1/3

    For more information, try '--help'.
    ");
    snapshot!(test, "--checkpoint small --dataset stories.txt --shard 6/6", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot score small on stories.txt: shard 6/6 of stories.txt has no document, 5 are selected; use fewer shards
    ");
    snapshot!(test, "--checkpoint small --dataset stories.txt --split dev", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: invalid value 'dev' for '--split <SPLIT>': no split is called `dev`; splits are test, valid, train

    For more information, try '--help'.
    ");
}

#[test]
fn texts_that_cannot_be_scored() {
    let test = CliTest::new();
    test.write("empty.txt", "");
    snapshot!(test, "--checkpoint small --dataset empty.txt", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `empty.txt` holds no document (0 bytes); expected text, give another file or fetch it again
    ");
    snapshot!(test, "--checkpoint small --dataset nowhere.txt", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: there is no file `nowhere.txt`, and no data set of that name; names are wikitext2, tinystories, tinystories-head, tinystories-dev, tinystories-v2, wikitext2-raw, wikitext103, enwik8, text8, lambada, sample, sample-wikitext2, sample-tinystories
    ");
    test.write("latin1.txt", b"caf\xe9 au lait\n");
    test.add_model("letters", &small_checkpoint(characters("abc"), 2));
    snapshot!(test, "--checkpoint letters --dataset latin1.txt", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    warning: not all of `latin1.txt` is UTF-8 (documents: 1), its bytes are read as they are; convert Latin-1 with `iconv -f LATIN1 -t UTF-8`
    scoring letters (fp32, [KERNEL]) on latin1.txt: 1 documents, 13 bytes
    error: cannot score letters on latin1.txt: cannot read document 1 of latin1.txt: byte 3 of the text is not valid UTF-8, which the char tokenizer needs; the tokenizers `bytes` and `bpe` accept any bytes
    ");
}

#[test]
fn a_missing_data_set_names_the_script() {
    if fetched("wikitext-2") {
        return;
    }
    let test = CliTest::new();
    let run = test
        .command("--checkpoint small --dataset wikitext2")
        .output()
        .unwrap();
    let message = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(2), "{message}");
    assert!(
        message.starts_with("error: the test split of wikitext2 was not found"),
        "{message}"
    );
    assert!(message.contains("scripts/fetch-data.sh"), "{message}");
}

#[test]
fn the_sample_stands_in_for_a_data_set_that_was_not_asked_for() {
    if fetched("tinystories") {
        return;
    }
    let test = CliTest::new();
    let run = test
        .command("--checkpoint small --max-tokens 100")
        .output()
        .unwrap();
    let table = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success());
    assert!(table.contains("sample-tinystories  small"), "{table}");
    let note = "note: the valid split of tinystories-head is not here, so small was scored on \
                sample-tinystories; run `scripts/fetch-data.sh --only tinystories-head` for the real text";
    assert!(table.ends_with(&format!("{note}\n")), "{table}");
}

#[test]
fn checkpoints_that_are_broken() {
    let test = CliTest::new();
    let good = fs::read(test.path("models/small.safetensors")).unwrap();
    test.write("models/cut.safetensors", &good[..good.len() / 2]);
    test.write(
        "models/huge.safetensors",
        [&u64::MAX.to_le_bytes()[..], &good[8..]].concat(),
    );
    for name in [
        "cut",
        "huge",
        "models/none.safetensors",
        "stories.txt",
        "nobody",
    ] {
        let arguments = format!("--checkpoint {name} --dataset stories.txt");
        let run = test.command(&arguments).output().unwrap();
        let message = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(2), "{name}: {message}");
        assert!(
            message.starts_with("error: ") && message.contains(name),
            "{name}: {message}"
        );
        assert!(!message.contains("panicked"), "{name}: {message}");
    }
}

#[test]
fn outputs_that_cannot_be_written_are_found_before_the_work() {
    let test = CliTest::new();
    test.write("file", "");
    for option in ["--output", "--csv"] {
        for path in ["models", "file/result.json"] {
            let arguments = format!("--checkpoint small --dataset stories.txt {option} {path}");
            let run = test.command(&arguments).output().unwrap();
            let message = String::from_utf8(run.stderr).unwrap();
            assert_eq!(run.status.code(), Some(2), "{arguments}: {message}");
            assert!(message.starts_with("error: cannot write "), "{message}");
            let remedy = format!("; give another file for `{option}`");
            assert!(message.contains(&remedy), "{message}");
            assert!(!message.contains("scoring"), "{message}");
        }
    }
}

#[test]
#[cfg(not(feature = "burn"))]
fn the_burn_engine_says_how_to_build_it() {
    let test = CliTest::new();
    snapshot!(test, "--checkpoint small --dataset stories.txt --engine burn", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot run small: this build has no burn engine; use `--engine native`, or build with `cargo build --release -p itera-validate --features burn`
    ");
}

#[test]
fn contradictory_arguments() {
    let test = CliTest::new();
    snapshot!(test, "--protocol stream --shard 1/2", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--shard` cannot be used with the protocol stream, which carries the state from each document to the next; use `--protocol document` or `--protocol window`
    ");
    snapshot!(test, "--protocol document --window 8", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--window` and `--stride` need `--protocol window`
    ");
    snapshot!(test, "--threads 0", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--threads` is 0, expected 1 to 1024
    ");
}

#[test]
fn two_results_in_one_file() {
    let test = CliTest::new();
    snapshot!(test, "--checkpoint small --dataset stories.txt --output x --csv x", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--output` and `--csv` are the same file, `x`; name another for `--csv`
    ");
}

#[test]
fn an_output_is_none_of_the_inputs() {
    let test = CliTest::new();
    test.write(
        "small.safetensors",
        small_checkpoint(bytes(), 1).to_bytes().unwrap(),
    );
    test.record(
        "--checkpoint small --dataset stories.txt --shard 1/1",
        "part.json",
    );
    #[cfg(unix)]
    std::os::unix::fs::symlink("stories.txt", test.path("link.txt")).unwrap();
    let names = [
        "stories.txt",
        "models/small.safetensors",
        "small.safetensors",
        "part.json",
    ];
    let content = || names.map(|name| fs::read(test.path(name)).unwrap());
    let before = content();
    for line in [
        "--checkpoint small --dataset stories.txt --output stories.txt",
        "--checkpoint small --dataset stories.txt --csv ./stories.txt",
        "--checkpoint small --dataset stories.txt --output models/small.safetensors",
        "--checkpoint small.safetensors --dataset link.txt --csv small.safetensors",
        "--checkpoint small --dataset link.txt --output models/../stories.txt",
        "bench --checkpoint small.safetensors --output models/../small.safetensors",
        "merge part.json --output ./part.json",
    ] {
        let run = test.command(line).output().unwrap();
        let said = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(2), "{line}: {said}");
        assert!(said.contains("are the same file"), "{line}: {said}");
        assert!(
            !said.contains("scoring") && !said.contains("measuring"),
            "{said}"
        );
        assert!(content() == before, "{line}");
    }
}

#[test]
fn a_checkpoint_of_another_text_is_not_scored_on_a_data_set() {
    let test = CliTest::new();
    let mut own = small_checkpoint(bytes(), 1);
    own.training = serde_json::json!({"dataset": "/dev/zero"});
    test.add_model("own", &own);
    snapshot!(test, "--checkpoint own", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: own was trained on the file `/dev/zero`; name the text to score it on with `--dataset`
    ");
}

#[test]
fn a_result_without_a_reader_ends_quietly() {
    let test = CliTest::new();
    let mut command = test.command("--checkpoint small --dataset stories.txt --output x.json");
    let mut run = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(run.stdout.take());
    let run = run.wait_with_output().unwrap();
    let message = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(141));
    assert!(!message.contains("error"), "{message}");
    assert!(test.path("x.json").exists());
}

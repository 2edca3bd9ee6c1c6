//! Every bad input ends with exit status 2 and one message that says what to do.

use itera_testing::snapshot;

use crate::fixture::CliTest;

/// A model that every machine has in the same form.
const SMALL: &str = "--checkpoint small --precision int8";

#[test]
fn floats_are_refused_since_other_processors_round_otherwise() {
    let test = CliTest::new();
    snapshot!(test, "compress stories.txt --precision fp32", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: at fp32 other processors may predict otherwise, so that they could not restore the text; give `--precision int8` or `int4`
    ");
}

#[test]
fn another_model_is_refused_by_name() {
    let test = CliTest::new();
    test.run(&format!("compress stories.txt {SMALL}"), b"");
    snapshot!(test, "restore stories.txt.itz -o x --checkpoint other", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot restore `stories.txt.itz`: it was compressed with small at int8, whose digest begins with [DIGEST], and other is another model ([DIGEST]); give the right one with `--checkpoint`
    ");
    std::fs::remove_file(test.path("models/small.safetensors")).unwrap();
    snapshot!(test, "restore stories.txt.itz -o x", @r#"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot restore `stories.txt.itz`: it was compressed with small at int8; give that with `--checkpoint`: no checkpoint is called "small"; looked for [PLACES]; models that exist: [MODELS]; give one of these, a path, or set ITERA_MODELS_DIR
    "#);
    assert!(!test.path("x").exists());
}

#[test]
fn a_message_of_another_model_is_refused() {
    let test = CliTest::new();
    test.run("compress stories.txt --message -o x.msg", b"");
    snapshot!(test, "restore x.msg --message --checkpoint small --precision int8", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot restore the message of `x.msg`: the message was made with another model than small at int8; give `--checkpoint micro-tinystories --precision int4`
    ");
}

#[test]
fn damaged_files_are_refused() {
    let test = CliTest::new();
    test.run(&format!("compress stories.txt {SMALL}"), b"");
    let whole = test.read("stories.txt.itz");
    test.write("short.itz", &whole[..whole.len() / 2]);
    snapshot!(test, "restore short.itz", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot restore `short.itz`: it is damaged, its code stands for no text; copy it again
    ");
    let mut flipped = whole.clone();
    flipped[60] ^= 4;
    test.write("flipped.itz", &flipped);
    snapshot!(test, "restore flipped.itz", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot restore `flipped.itz`: it is damaged, its code stands for no text; copy it again
    ");
    test.write("long.itz", [whole.as_slice(), b"x"].concat());
    snapshot!(test, "restore long.itz", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot restore `long.itz`: it is damaged, its code stands for no text; copy it again
    ");
    let mut newer = whole;
    newer[2] = 9;
    test.write("newer.itz", &newer);
    snapshot!(test, "restore newer.itz", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot restore `newer.itz`: it is of version 9, and this program reads version 2; use a newer program
    ");
    test.write("other.itz", "some text");
    snapshot!(test, "restore other.itz", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot restore `other.itz`: it is no file that `itera-zip compress` wrote
    ");
    for name in ["short", "flipped", "long", "newer", "other"] {
        assert!(!test.path(name).exists(), "{name}");
    }
}

#[test]
fn messages_that_are_none() {
    let test = CliTest::new();
    test.write("empty.msg", "\n");
    snapshot!(test, "restore empty.msg --message", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot restore the message of `empty.msg`: there is no message; give what `itera-zip compress --message` wrote
    ");
    test.write("text.msg", "Hello, how are you? 'Fine'.");
    snapshot!(test, "restore text.msg --message", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot restore the message of `text.msg`: it is not what `itera-zip compress --message` wrote; copy it whole
    ");
    test.write("long.txt", "x".repeat(70_000));
    snapshot!(test, "compress long.txt --message", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: a message has at most 65536 bytes, and `long.txt` has more; compress it without `--message`
    ");
}

#[test]
fn files_that_cannot_be_read_or_written() {
    let test = CliTest::new();
    snapshot!(test, "compress missing.txt", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot read `missing.txt`: No such file or directory (os error 2)
    ");
    snapshot!(test, "compress models", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `models` is a folder; give a file, for example an archive of it
    ");
    snapshot!(test, "restore stories.txt", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `stories.txt` does not end with .itz; name the file to write with `--output`
    ");
    snapshot!(test, "compress stories.txt -o stories.txt", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: the input and `--output` are the same file, `stories.txt`; name another for `--output`
    ");
    test.write("stories.txt.itz", "");
    snapshot!(test, "compress stories.txt", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `stories.txt.itz` is there already; remove it, or name the file to write with `--output`
    ");
    snapshot!(test, "compress stories.txt -o x --threads 0", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--threads` is 0, expected 1 to 1024
    ");
    snapshot!(test, "compress stories.txt -o x --checkpoint none", @r#"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: no checkpoint is called "none"; looked for [PLACES]; models that exist: [MODELS]; give one of these, a path, or set ITERA_MODELS_DIR
    "#);
    snapshot!(test, "restore x --precision int8", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: the following required arguments were not provided:
      --message

    Usage: itera-zip restore --message --precision <PRECISION> <INPUT>

    For more information, try '--help'.
    ");
}

//! Texts and messages come back, from files and through pipes.

use std::fs;

use itera_testing::{STORIES, snapshot};

use crate::fixture::CliTest;

/// A model that every machine has in the same form.
const SMALL: &str = "--checkpoint small --precision int8";

#[test]
fn a_file_comes_back() {
    let test = CliTest::new();
    snapshot!(test, &format!("compress stories.txt {SMALL}"), @r"
    success: true
    exit_code: 0
    ----- stdout -----

    ----- stderr -----
    318 bytes became 318, 8.0000 bits/byte, by small at int8; #.### MB/s
    ");
    fs::remove_file(test.path("stories.txt")).unwrap();
    snapshot!(test, "restore stories.txt.itz", @r"
    success: true
    exit_code: 0
    ----- stdout -----

    ----- stderr -----
    restored 318 bytes; #.### MB/s
    ");
    assert_eq!(test.read("stories.txt"), STORIES.as_bytes());
}

#[test]
fn the_models_that_ship_compress_stories_to_a_fraction() {
    let test = CliTest::new();
    test.run("compress stories.txt", b"");
    assert!(3 * test.read("stories.txt.itz").len() < STORIES.len());
    test.run("restore stories.txt.itz -o back.txt", b"");
    assert_eq!(test.read("back.txt"), STORIES.as_bytes());
}

#[test]
fn pipes_take_any_bytes() {
    let test = CliTest::new();
    let binary: Vec<u8> = (0..5000_u64).map(|i| (i * i * i / 7) as u8).collect();
    for input in [&b""[..], b"x", STORIES.as_bytes(), &binary] {
        let compressed = test.run(&format!("compress {SMALL}"), input).stdout;
        assert!(compressed.len() <= input.len() + 24);
        assert_eq!(test.run("restore --threads 1", &compressed).stdout, input);
    }
}

#[test]
fn messages_are_printable_and_come_back() {
    let test = CliTest::new();
    for text in [
        "",
        "Hi!",
        "The cat sat on the mat. It was happy.\n",
        "ü\u{1f600}",
    ] {
        let message = test.run("compress --message", text.as_bytes()).stdout;
        assert!(
            message
                .iter()
                .all(|byte| byte.is_ascii_graphic() || *byte == b'\n')
        );
        let back = test.run("restore --message", &message).stdout;
        assert_eq!(String::from_utf8(back).unwrap(), text);
    }
    test.write("hello.txt", "The dog ran to the big tree.");
    test.run("compress hello.txt --message -o hello.msg", b"");
    snapshot!(test, "restore hello.msg --message", @r"
    success: true
    exit_code: 0
    ----- stdout -----
    The dog ran to the big tree.
    ----- stderr -----
    ");
}

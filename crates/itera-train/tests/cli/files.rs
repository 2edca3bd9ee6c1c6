//! No file is lost: outputs are neither inputs nor each other, by whatever name, and can be written.

use crate::fixture::{CliTest, QUICK_FIT};

/// A folder with a checkpoint, texts, a plan, and links to the first two.
fn test() -> CliTest {
    let test = CliTest::with_model();
    test.write("t.txt", "A story of a cat.\n<|endoftext|>\n".repeat(40));
    test.write("y.metrics.csv", "A story.\n");
    test.write("plan.json", r#"{"studies": []}"#);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("x.safetensors", test.path("link.safetensors")).unwrap();
        std::os::unix::fs::symlink("t.txt", test.path("link.txt")).unwrap();
        std::os::unix::fs::symlink(".", test.path("up")).unwrap();
        std::os::unix::fs::symlink("new", test.path("dangling")).unwrap();
    }
    test
}

#[cfg(unix)]
#[test]
fn outputs_are_neither_inputs_nor_each_other() {
    let test = test();
    let fit = QUICK_FIT.replace("sample-tinystories", "t.txt");
    let quantize = "quantize --checkpoint x.safetensors --precision int4 --method search";
    let before = test.content();
    for line in [
        "tokenizer --dataset t.txt --output t.txt",
        "tokenizer --dataset up/t.txt --output link.txt",
        &format!("{fit} --steps 1 --init x.safetensors --output ./x.safetensors"),
        &format!("{fit} --steps 1 --teacher up/x.safetensors --output link.safetensors"),
        &format!("{fit} --steps 1 --valid y.metrics.csv --output y.safetensors"),
        &format!("{quantize} --output x.safetensors"),
        &format!("{quantize} --output link.safetensors"),
        &format!("{quantize} --report x.safetensors"),
        &format!("{quantize} --report ./x.int4.safetensors"),
        &format!("{quantize} --output new --report up/new"),
        &format!("{quantize} --output new --report dangling"),
        &format!("{quantize} --dataset t.txt --report link.txt"),
        &format!("{quantize} --of link.safetensors --output up/x.safetensors"),
        "prune --checkpoint link.safetensors --heads 1 --output x.safetensors",
        "ablate --plan plan.json --output up/plan.json",
    ] {
        let said = test.refused(line);
        assert!(said.contains("are the same file"), "{line}: {said}");
        assert!(test.content() == before, "{line} changes a file");
    }
}

#[test]
fn names_that_cannot_be_written_are_found_before_the_work() {
    let test = test();
    let before = test.files();
    let (fits, long) = ("y".repeat(243), "y".repeat(256));
    for (line, message) in [
        (
            "tokenizer --dataset t.txt --output new/".to_owned(),
            "names a folder",
        ),
        (
            format!("{QUICK_FIT} --steps 1 --output {fits}.safetensors"),
            "the name is too long",
        ),
        (
            format!("tokenizer --dataset t.txt --output new/{long}"),
            "the name is too long",
        ),
        (
            "quantize --checkpoint x.safetensors --precision int4 --report new/".to_owned(),
            "names a folder",
        ),
    ] {
        let said = test.refused(&line);
        assert!(said.contains(message), "{line}: {said}");
        assert_eq!(test.files(), before, "{line}");
    }
}

#[cfg(unix)]
#[test]
fn an_argument_that_is_not_utf8_is_named() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

    let test = test();
    for option in ["--checkpoint", "--dataset"] {
        let mut command = test.command("quantize --precision int4");
        if option != "--checkpoint" {
            command.args(["--checkpoint", "x.safetensors"]);
        }
        let output = command
            .arg(option)
            .arg(OsStr::from_bytes(b"caf\xe9"))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains(&format!("`{option} caf\u{fffd}` is not UTF-8")),
            "{said}"
        );
    }
}

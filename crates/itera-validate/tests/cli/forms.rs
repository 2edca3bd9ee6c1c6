//! The summary of texts in every form, by every name, and in the harness's layout.

use std::{fs, io::Write as _};

use itera_testing::STORIES;
use serde_json::{Value, json};

use crate::fixture::CliTest;

/// The stories as JSON lines with this field.
fn lines(field: &str) -> String {
    let texts = STORIES.split("\n<|endoftext|>\n").map(str::trim_end);
    let line = |text: &str| json!({ field: text }).to_string();
    texts.map(line).collect::<Vec<_>>().join("\n")
}

fn gzip(text: &str) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

/// What the program says when it refuses.
fn refuse(test: &CliTest, arguments: &str) -> String {
    let run = test.command(arguments).output().unwrap();
    let said = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(2), "{arguments}: {said}");
    said
}

#[test]
fn the_summary_of_a_text_is_the_same_in_every_form() {
    let test = CliTest::new();
    test.write("lines.jsonl", lines("text"));
    test.write("story.jsonl", lines("story"));
    fs::write(test.path("lines.jsonl.gz"), gzip(&lines("text"))).unwrap();
    fs::create_dir(test.path("folder")).unwrap();
    test.write("folder/part.txt", STORIES);
    let nats = |arguments: &str| {
        let record = test.record(&format!("--checkpoint small {arguments}"), "out.json");
        let row = &record.rows[0];
        (row.per_document.document_nll_nats.clone(), row.words)
    };
    let expected = nats("--dataset stories.txt");
    for arguments in [
        "--dataset lines.jsonl",
        "--dataset lines.jsonl.gz",
        "--dataset story.jsonl --text-field story",
        "--dataset folder",
        "--dataset *.gz",
    ] {
        assert_eq!(nats(arguments), expected, "{arguments}");
    }
    let both = test.record(
        "--checkpoint small --dataset stories.txt --dataset lines.jsonl",
        "both.json",
    );
    let names: Vec<_> = both.rows.iter().map(|row| &*row.dataset).collect();
    assert_eq!(names, ["stories.txt", "lines.jsonl"]);
    let by_line = test.record(
        "--checkpoint small --dataset stories.txt --document-rule line",
        "line.json",
    );
    let full = STORIES
        .lines()
        .filter(|line| !line.trim().is_empty())
        .count();
    assert_eq!(by_line.rows[0].documents, full as u64);
    for (arguments, message) in [
        ("--dataset lines.jsonl --text-field body", "no field `body`"),
        ("--dataset -", "use `itera-validate score -`"),
        ("--dataset hf:no/such", "huggingface-cli download"),
    ] {
        let said = refuse(&test, &format!("--checkpoint small {arguments}"));
        assert!(said.contains(message), "{said}");
    }
}

#[test]
fn a_table_in_the_data_folder_names_texts() {
    let test = CliTest::new();
    fs::create_dir_all(test.path("texts/fables")).unwrap();
    test.write("texts/fables/all.txt", "The fox ran.\n\nThe crow sang.\n");
    let table = "[[text]]\nname = \"fables\"\ntitle = \"official fables\"\nfolder = \"fables\"\n\
                 rule = \"paragraph\"\n[text.valid]\nfiles = [\"all.txt\"]\nsha256 = \"DIGEST\"\n";
    let digest = itera_data::sha256_hex(&fs::read(test.path("texts/fables/all.txt")).unwrap());
    test.write("texts/datasets.toml", table.replace("DIGEST", &digest));
    let run = |arguments: &str| {
        let mut command = test.command(arguments);
        command
            .env("ITERA_DATA_DIR", test.path("texts"))
            .output()
            .unwrap()
    };
    let found = run("--checkpoint small --dataset fables --json --no-baselines");
    let record: Value = serde_json::from_slice(&found.stdout).unwrap();
    let row = &record["rows"][0];
    assert_eq!(
        (&row["documents"], &row["split"]),
        (&json!(2), &json!("valid"))
    );
    assert_eq!(row["dataset_verdict"], "official fables, by its digest");
    // The file is known by its digest, whatever it is called.
    let by_path = run("--checkpoint small --dataset texts/fables/all.txt --json --no-baselines");
    let record: Value = serde_json::from_slice(&by_path.stdout).unwrap();
    assert_eq!(record["rows"][0]["dataset"], "fables");
    test.write("texts/datasets.toml", "[[text]]\nname = 7\n");
    let broken = run("--checkpoint small --dataset fables");
    assert_eq!(broken.status.code(), Some(2));
    let said = String::from_utf8(broken.stderr).unwrap();
    assert!(
        said.contains("datasets.toml` is no table of texts"),
        "{said}"
    );
}

#[test]
fn the_layout_of_the_harness_has_one_model_and_a_task_for_each_text() {
    let test = CliTest::new();
    test.write("lines.jsonl", lines("text"));
    let texts = "--dataset stories.txt --dataset lines.jsonl --no-baselines";
    let ours = test.record(&format!("--checkpoint small {texts}"), "ours.json");
    let run = test.command(&format!(
        "--checkpoint small {texts} --format lm-eval --output theirs.json"
    ));
    let mut run = run;
    assert!(run.output().unwrap().status.success());
    let theirs: Value =
        serde_json::from_slice(&fs::read(test.path("theirs.json")).unwrap()).unwrap();
    let metrics = &theirs["results"]["stories.txt"];
    assert_eq!(metrics["bits_per_byte,none"], ours.rows[0].bits_per_byte);
    assert_eq!(metrics["bits_per_byte_stderr,none"], "N/A");
    assert_eq!(
        theirs["n-samples"]["lines.jsonl"]["effective"],
        ours.rows[1].documents
    );
    assert_eq!(theirs["config"]["model_args"]["model"], "small");
    test.add_model(
        "other",
        &itera_testing::small_checkpoint(itera_testing::bytes(), 2),
    );
    for (arguments, message) in [
        (
            "--checkpoint small --checkpoint other",
            "one model at one precision",
        ),
        (
            "--checkpoint small --precision all",
            "one model at one precision",
        ),
    ] {
        let said = refuse(
            &test,
            &format!("{arguments} {texts} --format lm-eval --output x.json"),
        );
        assert!(said.contains(message), "{said}");
        assert!(!test.path("x.json").exists());
    }
}

//! `score`: rows of documents from files of every form, whole, in shards, and after every end.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::{Child, Output, Stdio},
    time::Duration,
};

use itera_core::models::load_checkpoint;
use itera_record::{Record as _, ScoresRecord};
use itera_testing::{STORIES, bytes, small_checkpoint, snapshot};
use serde_json::Value;

use crate::fixture::{CliTest, characters};

fn run(test: &CliTest, arguments: &str) -> Output {
    test.command(&format!("score --checkpoint small {arguments}"))
        .output()
        .unwrap()
}

/// Runs the program, which must succeed; its standard output.
fn succeed(test: &CliTest, arguments: &str) -> String {
    let run = run(test, arguments);
    assert!(
        run.status.success(),
        "{arguments}: {}",
        String::from_utf8_lossy(&run.stderr)
    );
    String::from_utf8(run.stdout).unwrap()
}

/// Runs the program, which must refuse; what it says.
fn refuse(test: &CliTest, arguments: &str) -> String {
    let run = run(test, arguments);
    let said = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(2), "{arguments}: {said}");
    said
}

fn rows(text: &str) -> Vec<Value> {
    let row = |line| serde_json::from_str(line).unwrap();
    text.lines().map(row).collect()
}

/// The likelihoods of rows, by their bits.
fn nats(rows: &[Value]) -> Vec<u64> {
    let nats = |row: &Value| row["nll_nats"].as_f64().unwrap().to_bits();
    rows.iter().map(nats).collect()
}

fn summary(path: &Path) -> ScoresRecord {
    let json = fs::read(format!("{}.summary.json", path.display())).unwrap();
    ScoresRecord::from_json(&json).unwrap()
}

/// A text of so many stories, no two alike.
fn many_stories(count: usize) -> String {
    let story = |number| {
        format!(
            "Tim had {number} cats.\nThey ran {}.\n<|endoftext|>\n",
            number % 7
        )
    };
    (0..count).map(story).collect()
}

#[test]
fn a_row_is_a_document_with_the_score_of_the_summary() {
    let test = CliTest::new();
    let whole = test.record("--checkpoint small --dataset stories.txt", "whole.json");
    let of_rows = rows(&succeed(&test, "stories.txt"));
    let expected = &whole.rows[0].per_document.document_nll_nats;
    assert_eq!(
        nats(&of_rows),
        expected
            .iter()
            .map(|nats| nats.to_bits())
            .collect::<Vec<_>>()
    );
    snapshot!(test, "score --checkpoint small stories.txt --document-rule whole", @r#"
    success: true
    exit_code: 0
    ----- stdout -----
    {"id":"stories.txt:0","bytes":318,"chars":316,"words":63,"unicode_words":63,"tokens":318,"unknown_tokens":0,"nll_nats":[NUMBER],"bits_per_byte":[NUMBER]}

    ----- stderr -----
    warning: `stories.txt` holds <|endoftext|> 4 times as text; to separate documents, write it in small letters on a line of its own
    documents 1, bytes 318, tokens 318, rows 1; #.#### bits/byte
    scored in [TIME]
    "#);
}

#[test]
fn every_form_of_a_file_has_the_same_scores() {
    let test = CliTest::new();
    let texts: Vec<&str> = STORIES
        .split("\n<|endoftext|>\n")
        .map(str::trim_end)
        .collect();
    let expected = nats(&rows(&succeed(&test, "stories.txt")));
    let lines: Vec<String> = texts
        .iter()
        .map(|text| serde_json::json!({ "text": text }).to_string())
        .collect();
    test.write("lines.jsonl", lines.join("\n"));
    assert_eq!(nats(&rows(&succeed(&test, "lines.jsonl"))), expected);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(lines.join("\n").as_bytes()).unwrap();
    fs::write(test.path("lines.gz"), gzip.finish().unwrap()).unwrap();
    assert_eq!(nats(&rows(&succeed(&test, "lines.gz"))), expected);
    let mut command = test.command("score --checkpoint small -");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(STORIES.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        nats(&rows(&String::from_utf8(output.stdout).unwrap())),
        expected
    );
    // And a file of rows with their texts is an input again.
    for name in ["rows.csv", "rows.parquet", "rows.jsonl.zst", "rows.csv.gz"] {
        succeed(&test, &format!("stories.txt --keep-text --output {name}"));
        let again = rows(&succeed(&test, &format!("{name} --id-field id")));
        assert_eq!(nats(&again), expected, "{name}");
        assert_eq!(again[1]["id"], "stories.txt:67", "{name}");
        assert_eq!(summary(&test.path(name)).totals.rows, 5);
    }
}

#[test]
fn threads_change_no_byte_and_a_long_document_comes_in_parts() {
    let test = CliTest::new();
    test.write("many.txt", many_stories(6000));
    let one = succeed(&test, "many.txt --threads 1");
    assert_eq!(one.lines().count(), 6000);
    assert_eq!(succeed(&test, "many.txt --threads 4"), one);
    let long = "Tim ran to the park. ".repeat(30_000);
    test.write(
        "long.txt",
        format!("a\n<|endoftext|>\n{long}\n<|endoftext|>\nb\n"),
    );
    test.write(
        "long.jsonl",
        serde_json::json!({ "text": long }).to_string(),
    );
    let parts = rows(&succeed(&test, "long.txt --threads 3"));
    let whole = rows(&succeed(&test, "long.jsonl"));
    assert_eq!(parts.len(), 3);
    for field in [
        "bytes",
        "chars",
        "words",
        "unicode_words",
        "tokens",
        "nll_nats",
    ] {
        assert_eq!(parts[1][field], whole[0][field], "{field}");
    }
    assert_eq!(parts[1]["bytes"], long.len());
}

#[test]
fn a_row_may_be_a_token() {
    let test = CliTest::new();
    let documents = rows(&succeed(&test, "stories.txt"));
    let tokens = rows(&succeed(&test, "stories.txt --tokens"));
    let first: Vec<_> = tokens
        .iter()
        .filter(|row| row["id"] == documents[0]["id"])
        .collect();
    assert_eq!(first.len() as u64, documents[0]["tokens"].as_u64().unwrap());
    let sum = first
        .iter()
        .fold(0.0, |sum, row| sum + row["nll_nats"].as_f64().unwrap());
    assert_eq!(Some(sum), documents[0]["nll_nats"].as_f64());
    let mut ends = first
        .iter()
        .map(|row| row["offset"].as_u64().unwrap() + row["bytes"].as_u64().unwrap());
    assert_eq!(ends.next_back(), documents[0]["bytes"].as_u64());
    assert!(
        first
            .iter()
            .all(|row| (1..=258).contains(&row["rank"].as_u64().unwrap()))
    );
}

#[test]
fn a_second_model_is_subtracted_and_limits_are_a_filter() {
    let test = CliTest::new();
    test.add_model("other", &small_checkpoint(bytes(), 2));
    let all = rows(&succeed(&test, "stories.txt --against other"));
    for row in &all {
        let bits = |field: &str| row[field].as_f64().unwrap();
        let difference = bits("bits_per_byte") - bits("against_bits_per_byte");
        assert!((difference - bits("difference_bits_per_byte")).abs() < 1e-12);
    }
    let mut bits: Vec<f64> = all
        .iter()
        .map(|row| row["bits_per_byte"].as_f64().unwrap())
        .collect();
    bits.sort_by(f64::total_cmp);
    let kept = rows(&succeed(
        &test,
        &format!("stories.txt --max-bits-per-byte {}", bits[1]),
    ));
    assert_eq!(kept.len(), 2);
    let kept = rows(&succeed(
        &test,
        &format!("stories.txt --min-bits-per-byte {}", bits[1]),
    ));
    assert_eq!(kept.len(), 4);
    assert!(refuse(&test, "stories.txt --max-difference 0").contains("--against"));
}

#[test]
fn shards_join_to_the_file_of_one_run() {
    let test = CliTest::new();
    test.write("in/a.txt", many_stories(300));
    test.write("in/b.jsonl", "{\"text\": \"one\"}\n{\"text\": \"two\"}\n");
    for ending in ["jsonl", "csv"] {
        succeed(&test, &format!("in --output whole.{ending}"));
        for shard in 1..=3 {
            succeed(
                &test,
                &format!("in --shard {shard}/3 --output {ending}/rows.{ending}"),
            );
        }
        let merge = |arguments: &str| test.command(arguments).output().unwrap();
        let done = merge(&format!("merge {ending} --output joined.{ending}"));
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        let read = |name: &str| fs::read_to_string(test.path(name)).unwrap();
        assert_eq!(
            read(&format!("joined.{ending}")),
            read(&format!("whole.{ending}"))
        );
        let totals = summary(&test.path(&format!("joined.{ending}"))).totals;
        assert_eq!(totals.documents, 302);
        let second = test.path(&format!("{ending}/rows.2-of-3.{ending}"));
        let refused = |why: &str| {
            let said = merge(&format!("merge {ending} --output joined.{ending}"));
            assert_eq!(said.status.code(), Some(2));
            let said = String::from_utf8(said.stderr).unwrap();
            assert!(said.contains(why), "{said}");
        };
        let rows = fs::read(&second).unwrap();
        fs::write(&second, "changed").unwrap();
        refused("is not the file that its summary is about");
        fs::write(&second, rows).unwrap();
        fs::remove_file(format!("{}.summary.json", second.display())).unwrap();
        refused("shard 2/3 is missing; score it with `--shard 2/3`");
    }
    let mut auto =
        test.command("score --checkpoint small in --shard auto --output auto/rows.jsonl");
    auto.env("SLURM_ARRAY_TASK_ID", "8")
        .env("SLURM_ARRAY_TASK_MIN", "7")
        .env("SLURM_ARRAY_TASK_COUNT", "3");
    assert!(auto.output().unwrap().status.success());
    let read = |name: &str| fs::read(test.path(name)).unwrap();
    assert_eq!(
        read("auto/rows.2-of-3.jsonl"),
        read("jsonl/rows.2-of-3.jsonl")
    );
    assert!(refuse(&test, "in --shard auto --output x.jsonl").contains("SLURM_ARRAY_TASK_ID"));
}

#[test]
fn a_run_that_is_killed_goes_on_to_the_same_bytes() {
    let test = CliTest::new();
    test.write("many.txt", many_stories(10_000));
    // So long that the rows of its tokens are written in parts.
    let long = "Tim ran to the park. ".repeat(15_000);
    test.write("long.txt", format!("{}{long}", many_stories(100)));
    for (name, most, input) in [
        ("rows.jsonl", 20, "many.txt"),
        ("rows.csv.gz", 3, "many.txt"),
        ("rows.parquet", 3, "many.txt"),
        ("tokens.csv.gz", 3, "long.txt --tokens"),
    ] {
        succeed(&test, &format!("{input} --output whole-{name}"));
        let whole = fs::read(test.path(&format!("whole-{name}"))).unwrap();
        let resumed = || {
            let mut command = test.command(&format!(
                "score --checkpoint small {input} --output {name} --resume"
            ));
            command.stderr(Stdio::null());
            command
        };
        let mut kills = 0;
        for kill in 0..most {
            let mut child = resumed().spawn().unwrap();
            std::thread::sleep(Duration::from_millis(15 + 4 * kill));
            kills += u32::from(child.try_wait().unwrap().is_none());
            child.kill().unwrap();
            child.wait().unwrap();
            // Never half of it under its name.
            if let Ok(bytes) = fs::read(test.path(name)) {
                assert!(bytes == whole, "{name} after {kills} kills");
            }
        }
        assert!(kills > 0);
        assert!(resumed().status().unwrap().success());
        assert_eq!(
            fs::read(test.path(name)).unwrap(),
            whole,
            "{name} after {kills} kills"
        );
        assert!(!test.path(&format!("{name}.partial")).exists());
        assert!(!test.path(&format!("{name}.resume")).exists());
        assert_eq!(
            summary(&test.path(name)).totals,
            summary(&test.path(&format!("whole-{name}"))).totals
        );
        // Once more is nothing to do.
        assert!(resumed().status().unwrap().success());
    }
}

/// Leaves an unfinished output behind.
fn unfinished(test: &CliTest) {
    let stories = many_stories(20_000);
    let stories = stories.lines().filter(|line| line.starts_with("Tim"));
    let mut lines: Vec<String> = stories
        .map(|line| format!("{{\"text\": \"{line}\"}}"))
        .collect();
    lines.extend(["{\"text\": ", "{\"text\": \"end\"}\n"].map(str::to_owned));
    test.write("broken.jsonl", lines.join("\n"));
    let said = refuse(test, "broken.jsonl --output rows.jsonl");
    assert!(
        said.contains("broken.jsonl, line 20001: no JSON object with texts: EOF"),
        "{said}"
    );
    assert!(
        said.contains("leave such records out with `--on-error skip`"),
        "{said}"
    );
    assert!(!test.path("rows.jsonl").exists());
    assert!(test.path("rows.jsonl.partial").exists());
}

#[test]
fn a_broken_record_ends_the_run_or_is_left_out() {
    let test = CliTest::new();
    unfinished(&test);
    let said = refuse(&test, "broken.jsonl --output rows.jsonl");
    assert!(
        said.contains("is an unfinished output; go on with `--resume`"),
        "{said}"
    );
    let said = refuse(
        &test,
        "broken.jsonl --output rows.jsonl --resume --keep-text",
    );
    assert!(
        said.contains("was begun with other options, inputs or weights"),
        "{said}"
    );
    succeed(
        &test,
        "broken.jsonl --output rows.jsonl --resume --on-error skip",
    );
    let totals = summary(&test.path("rows.jsonl")).totals;
    assert_eq!(
        (totals.documents, totals.rows, totals.broken),
        (20_001, 20_001, 1)
    );
}

#[test]
fn an_input_that_has_changed_is_not_gone_on_with() {
    let test = CliTest::new();
    unfinished(&test);
    let text = fs::read_to_string(test.path("broken.jsonl")).unwrap();
    test.write("broken.jsonl", text.replacen("Tim", "Sue", 1));
    let said = refuse(&test, "broken.jsonl --output rows.jsonl --resume");
    assert!(
        said.contains("the input is not the one that the unfinished output was made from"),
        "{said}"
    );
}

#[test]
fn characters_outside_the_alphabet_are_counted_and_bytes_that_are_none_are_broken() {
    let test = CliTest::new();
    test.add_model("chars", &small_checkpoint(characters("abc "), 1));
    fs::write(test.path("bad.txt"), b"abc d\nab\xff\nc\n").unwrap();
    let arguments = "score --checkpoint chars bad.txt --document-rule line --on-error skip";
    let run = test.command(arguments).output().unwrap();
    assert!(run.status.success());
    let rows = rows(&String::from_utf8(run.stdout).unwrap());
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["unknown_tokens"], 1);
    assert!(
        String::from_utf8(run.stderr)
            .unwrap()
            .contains("broken records left out: 1")
    );
    let run = test
        .command("score --checkpoint chars bad.txt --document-rule line")
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(2));
    assert!(load_checkpoint(&test.path("models/chars.safetensors").display().to_string()).is_ok());
}

#[test]
fn a_finished_output_is_no_reason_to_forget_a_later_run() {
    let test = CliTest::new();
    test.write("a.jsonl", "{\"text\": \"one\"}\n");
    succeed(&test, "a.jsonl --output rows.jsonl");
    test.write(
        "a.jsonl",
        "{\"text\": \"one\"}\n{\"text\": \"two\"}\n{\"text\": \n",
    );
    let said = refuse(&test, "a.jsonl --output rows.jsonl --resume");
    assert!(
        said.contains("was made with other options, inputs or weights"),
        "{said}"
    );
    refuse(&test, "a.jsonl --output rows.jsonl");
    succeed(
        &test,
        "a.jsonl --output rows.jsonl --resume --on-error skip",
    );
    assert_eq!(summary(&test.path("rows.jsonl")).totals.documents, 2);
    test.write("rows.jsonl", "changed");
    let said = refuse(
        &test,
        "a.jsonl --output rows.jsonl --resume --on-error skip",
    );
    assert!(
        said.contains("is not the file that its summary is about"),
        "{said}"
    );
}

#[test]
fn shards_of_inputs_that_grew_are_not_joined() {
    let test = CliTest::new();
    test.write("a.jsonl", "{\"text\": \"one\"}\n{\"text\": \"two\"}\n");
    succeed(&test, "a.jsonl --shard 1/2 --output parts/rows.jsonl");
    test.write(
        "a.jsonl",
        "{\"text\": \"one\"}\n{\"text\": \"two\"}\n{\"text\": \"three\"}\n",
    );
    succeed(&test, "a.jsonl --shard 2/2 --output parts/rows.jsonl");
    let merged = test
        .command("merge parts --output rows.jsonl")
        .output()
        .unwrap();
    assert_eq!(merged.status.code(), Some(2));
}

#[test]
fn what_is_probably_meant_otherwise_is_said() {
    let test = CliTest::new();
    test.write(
        "inside.txt",
        "one <|endoftext|> two <|EndOfText|>\r\nthree\r\n",
    );
    let run = run(&test, "inside.txt");
    let said = String::from_utf8(run.stderr).unwrap();
    assert!(
        said.contains("holds <|endoftext|> 2 times as text"),
        "{said}"
    );
    assert!(said.contains("end with carriage returns"), "{said}");
}

#[test]
fn what_cannot_be_done_is_said_before_the_work() {
    let test = CliTest::new();
    test.write("two.jsonl", "{\"text\": \"a\"}\n");
    test.write("body.csv", "id,body\n1,one\n");
    test.write("array.json", "[\n {\"text\": \"a\"}\n]\n");
    test.write("first.jsonl", "\n{\"text\": \"a\n{\"text\": \"b\"}\n");
    for (arguments, message) in [
        ("no.txt", "there is no file `no.txt`"),
        ("stories.txt stories.txt", "is given twice"),
        (
            "stories.txt --output rows.txt",
            "names no form of rows; let it end with .jsonl, .csv or .parquet",
        ),
        (
            "stories.txt --output rows.parquet.gz",
            "names no form of rows",
        ),
        ("two.jsonl --output two.jsonl", "are the same file"),
        ("two.jsonl ./two.jsonl", "is given twice"),
        (". --output x.jsonl", "would lie in the input folder `.`"),
        (
            "stories.txt --text-field body",
            "is plain text; it has no field or column `body`",
        ),
        ("body.csv", "no column `text`; it has id, body"),
        ("array.json", "is a JSON document; make lines of it"),
        (
            "first.jsonl",
            "first.jsonl, line 2: no JSON object with texts",
        ),
        ("stories.txt --resume", "`--resume` needs the file"),
        (
            "- --shard 1/2 --output x.jsonl",
            "standard input cannot be divided",
        ),
        (
            "stories.txt --shard 3/2 --output x.jsonl",
            "there is no such shard",
        ),
        (
            "two.jsonl --text-field body",
            "no field `body`; it has text; name it with `--text-field`",
        ),
        (
            "stories.txt --document-rule verse",
            "no rule is called `verse`",
        ),
        ("hf:no/where", "is not on this disk"),
    ] {
        let said = refuse(&test, arguments);
        assert!(said.contains(message), "{arguments}: {said}");
        assert!(!test.path("x.jsonl").exists());
    }
    fs::write(test.path("picture.txt"), b"\x89PNG\r\n\x1a\n").unwrap();
    assert!(refuse(&test, "picture.txt").contains("is a PNG picture"));
    File::create(test.path("empty.txt")).unwrap();
    assert_eq!(succeed(&test, "empty.txt"), "");
}

#[test]
#[cfg(unix)]
fn a_reader_that_is_gone_ends_the_run() {
    let test = CliTest::new();
    test.write("many.txt", many_stories(20_000));
    let mut child = test.command("score --checkpoint small many.txt");
    let mut child: Child = child
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(!child.wait().unwrap().success());
}

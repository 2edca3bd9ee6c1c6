//! `versions list`, `export` and `import`.

use itera_core::{checkpoint::Precision, digest::sha256_hex, quant};
use itera_testing::{bytes, small_checkpoint, snapshot};
use serde_json::{Value, json};

use crate::fixture::CliTest;

/// A folder with `base.safetensors`, which the servers are started with, `new.safetensors` of the same sizes, and a
/// database.
fn with_candidate() -> CliTest {
    let test = CliTest::new();
    for (name, seed) in [("base", 1), ("new", 2)] {
        let checkpoint = small_checkpoint(bytes(), seed);
        test.write(
            &format!("{name}.safetensors"),
            checkpoint.to_bytes().unwrap(),
        );
    }
    test.write("one.jsonl", FEEDBACK);
    assert!(test.run("feedback import one.jsonl").status.success());
    test
}

const FEEDBACK: &str = r#"{"feedback_id":"a","timestamp":"2026-01-31T12:00:00Z","input_text":"Once","output_text":" there was a bad end.","user_rating":1,"correction":" there was a cat."}
{"feedback_id":"b","timestamp":"2026-01-31T12:00:01Z","input_text":"Tom","output_text":" ran.","user_rating":5}
{"feedback_id":"c","timestamp":"2026-01-31T12:00:02Z","input_text":"Lily","output_text":" slept.","user_rating":3}
{"feedback_id":"d","timestamp":"2026-01-31T12:00:03Z","input_text":"Two\n<|endoftext|>\n","output_text":" texts.","user_rating":5}
{"feedback_id":"e","timestamp":"2026-01-31T12:00:04Z","input_text":"Bad","output_text":" text.","user_rating":5,"excluded":true}
"#;

/// Version, parent and whether it is served, newest first.
fn listed(test: &CliTest) -> Vec<[String; 3]> {
    let list = test.run("versions list");
    assert!(list.status.success(), "{list:?}");
    let text = String::from_utf8(list.stdout).unwrap();
    let rows = text.lines().skip(1);
    rows.map(|row| {
        let cells: Vec<_> = row.split_whitespace().collect();
        [cells[0], cells[2], cells[3]].map(str::to_owned)
    })
    .collect()
}

/// A record that lets `file` through, or does not.
fn record(test: &CliTest, file: &str, after: f64) -> Value {
    let sha256 = sha256_hex(&std::fs::read(test.path(file)).unwrap());
    let model = json!({"name": "new", "file_sha256": sha256, "params": 293_592, "active_params": 256_728,
        "precision": "fp32", "bytes": 1_174_368, "bits_per_weight": 32.0});
    json!({"schema": "itera.retraining/1", "created_at": "2026-01-31T12:00:00Z",
        "tool": {"name": "itera-train", "version": "0.2.0", "commit": "unknown"},
        "host": {"cpu": "some", "cores": 2, "os": "linux x86_64", "simd": []},
        "model": model, "served": model, "trigger": "manual", "base_sha256": sha256, "training_sha256": sha256,
        "texts": [], "passed": after <= 1.01,
        "gate": [{"text": "guard", "precision": "int8", "bits_per_byte_before": 1.0, "bits_per_byte_after": after,
            "may_be_worse_percent": 1.0}]})
}

#[test]
fn a_version_comes_in_and_goes_out() {
    let test = with_candidate();
    test.write(
        "good.json",
        record(&test, "new.safetensors", 0.9).to_string(),
    );
    let imported = test
        .run("versions import --checkpoint base.safetensors --record good.json new.safetensors");
    assert!(imported.status.success(), "{imported:?}");
    let rows = listed(&test);
    assert_eq!(rows.len(), 2);
    let [new, parent, served] = &rows[0];
    let [base, no_parent, not_served] = &rows[1];
    assert_eq!(
        [served, not_served, no_parent].map(String::as_str),
        ["yes", "no", "none"]
    );
    assert_eq!(parent, base);

    assert!(
        test.run("versions export active out.safetensors")
            .status
            .success()
    );
    let digits = &new[..6];
    assert!(
        test.run(&format!("versions export {digits} same.safetensors"))
            .status
            .success()
    );
    let [out, same, input] = ["out", "same", "new"]
        .map(|name| std::fs::read(test.path(&format!("{name}.safetensors"))).unwrap());
    assert_eq!(out, input);
    assert_eq!(same, input);

    let again = test.run("versions import --checkpoint base.safetensors new.safetensors");
    let said = String::from_utf8(again.stderr).unwrap();
    assert_eq!(said, format!("{new} is served already\n"));
    let of_base = test.run(&format!("versions export {base} base.safetensors"));
    assert_eq!(of_base.status.code(), Some(2));
    let said = String::from_utf8(of_base.stderr).unwrap();
    assert!(
        said.contains("its weights are not in the database"),
        "{said}"
    );
}

#[test]
fn a_version_comes_in_as_a_canary_and_is_not_served_yet() {
    let test = with_candidate();
    let imported =
        test.run("versions import --canary --checkpoint base.safetensors new.safetensors");
    assert!(imported.status.success(), "{imported:?}");
    let rows = listed(&test);
    let [new, base] = rows.as_slice() else {
        panic!("{rows:?}")
    };
    assert_eq!([&*new[2], &*base[2]], ["no", "yes"]);
    let said = String::from_utf8(imported.stderr).unwrap();
    let expected = format!(
        "{} is a canary from now on, beginning with 5 % of the traffic\n",
        new[0]
    );
    assert_eq!(said, expected);
}

#[test]
fn a_version_that_makes_a_probe_likely_is_not_imported() {
    let test = with_candidate();
    // To random weights, some letter is much likelier than to others.
    let letters: String = ('a'..='z').flat_map(|letter| [letter, '\n']).collect();
    test.write("probes.txt", letters);
    let import = "versions import --checkpoint base.safetensors --adapt-probes probes.txt";
    let refused = test.run(&format!("{import} new.safetensors"));
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.starts_with("refused: a probe became "), "{said}");
    assert_eq!(test.run("versions list").status.code(), Some(2));
    // The start itself is as likely to write them as it was.
    assert!(
        test.run(&format!("{import} base.safetensors"))
            .status
            .success()
    );
    test.write("probes.txt", "\n");
    snapshot!(test, "versions import --checkpoint base.safetensors --adapt-probes probes.txt new.safetensors", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `probes.txt` of `--adapt-probes` has no text; give one a line
    ");
}

#[test]
fn what_the_gate_has_refused_is_not_imported() {
    let test = with_candidate();
    test.write(
        "bad.json",
        record(&test, "new.safetensors", 1.5).to_string(),
    );
    snapshot!(test, "versions import --checkpoint base.safetensors --record bad.json new.safetensors", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: by `bad.json`, the gate has refused this checkpoint
    ");
    test.write("other.json", record(&test, "one.jsonl", 0.9).to_string());
    snapshot!(test, "versions import --checkpoint base.safetensors --record other.json new.safetensors", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `other.json` is the record of another checkpoint
    ");
    let mut lies = record(&test, "new.safetensors", 1.5);
    lies["passed"] = true.into();
    test.write("lies.json", lies.to_string());
    snapshot!(test, "versions import --checkpoint base.safetensors --record lies.json new.safetensors", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot use `lies.json`: field `passed` is true, expected false, by `gate`
    ");
    snapshot!(test, "versions list", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: no server has used this database yet, so it has no versions
    ");
}

#[test]
fn versions_that_are_not_there_and_files_that_cannot_be_served_are_refused() {
    let test = with_candidate();
    assert!(
        test.run("versions import --checkpoint base.safetensors new.safetensors")
            .status
            .success()
    );
    snapshot!(test, "versions export 12345 out.safetensors", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `12345` is too short for a version; give at least 6 of its digits, or `active`
    ");
    snapshot!(test, "versions export 123456 out.safetensors", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: there is no version `123456`; see `itera-serve versions list`
    ");
    let options = quant::Options::data_free(Precision::Int8);
    let (int8, _) = quant::quantize(&small_checkpoint(bytes(), 2), &options).unwrap();
    test.write("int8.safetensors", int8.to_bytes().unwrap());
    snapshot!(test, "versions import --checkpoint base.safetensors int8.safetensors", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `int8.safetensors` is stored as int8, expected floats, which servers learn from
    ");
    snapshot!(test, "versions list --database none.db", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: there is no database `none.db`; give one with --database
    ");
}

#[test]
fn accepted_and_corrected_texts_go_out_as_a_training_text() {
    let test = with_candidate();
    snapshot!(test, "feedback export --accepted", @r"
    success: true
    exit_code: 0
    ----- stdout -----
    Once there was a cat.
    <|endoftext|>
    Tom ran.
    <|endoftext|>

    ----- stderr -----
    ");
    let held_out = test.run("feedback export --accepted --held-out held_out.txt");
    assert_eq!(held_out.stdout, b"Tom ran.\n<|endoftext|>\n");
    let others = std::fs::read_to_string(test.path("held_out.txt")).unwrap();
    assert_eq!(others, "Once there was a cat.\n<|endoftext|>\n");
}

//! `feedback export` and `feedback import`.

use itera_testing::snapshot;
use serde_json::Value;

use crate::fixture::CliTest;

/// As the prototype wrote it.
const PROTOTYPE: &str = r#"[
  {"id": "fb_1", "timestamp": "2025-10-07T18:32:13.462229", "input": "Hello, how are you?",
   "output": "I'm doing well, thank you!", "user_rating": 5, "correctness": true, "metadata": {}},
  {"id": "fb_2", "timestamp": "2025-10-07T18:32:13.463071", "input": "Test input 0",
   "output": "Incorrect output 0", "user_rating": 2, "correctness": false,
   "metadata": {"correction": "Right output 0", "topic": "test"}}
]"#;

#[test]
fn the_prototypes_records_come_in_and_go_out() {
    let test = CliTest::new();
    test.write("old.json", PROTOTYPE);
    snapshot!(test, "feedback import old.json", @r"
    success: true
    exit_code: 0
    ----- stdout -----

    ----- stderr -----
    imported 2 records; 0 were there already
    ");
    snapshot!(test, "feedback import old.json", @r"
    success: true
    exit_code: 0
    ----- stdout -----

    ----- stderr -----
    imported 0 records; 2 were there already
    ");
    snapshot!(test, "feedback export", @r#"
    success: true
    exit_code: 0
    ----- stdout -----
    {"feedback_id":"fb_1","timestamp":"2025-10-07T18:32:13.462Z","input_text":"Hello, how are you?","output_text":"I'm doing well, thank you!","user_rating":5,"correctness":true,"ended":false,"tokens_generated":0,"latency_ms":0.0,"model_variant":"","weights_version":"","answered_at":"2025-10-07T18:32:13.462Z","parameters":{}}
    {"feedback_id":"fb_2","timestamp":"2025-10-07T18:32:13.463Z","input_text":"Test input 0","output_text":"Incorrect output 0","user_rating":2,"correctness":false,"correction":"Right output 0","ended":false,"tokens_generated":0,"latency_ms":0.0,"model_variant":"","weights_version":"","answered_at":"2025-10-07T18:32:13.463Z","parameters":{"topic":"test"}}

    ----- stderr -----
    "#);
    let out = test.run("feedback export --prototype");
    let out: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(out[0]["id"], "fb_1");
    assert_eq!(out[0]["input"], "Hello, how are you?");
    assert_eq!(out[0]["correctness"], true);
    assert_eq!(out[1]["user_rating"], 2);
    assert_eq!(out[1]["metadata"]["correction"], "Right output 0");
    assert_eq!(out[1]["metadata"]["topic"], "test");
}

#[test]
fn an_export_can_be_imported_elsewhere() {
    let test = CliTest::new();
    test.write("old.json", PROTOTYPE);
    assert!(test.run("feedback import old.json").status.success());
    assert!(
        test.run("feedback export --output all.jsonl")
            .status
            .success()
    );
    assert!(
        test.run("feedback import --database other.db all.jsonl")
            .status
            .success()
    );
    let (one, two) = (
        test.run("feedback export"),
        test.run("feedback export --database other.db"),
    );
    assert_eq!(one.stdout, two.stdout);
    assert_eq!(String::from_utf8(one.stdout).unwrap().lines().count(), 2);
}

#[test]
fn an_export_tells_sources_and_what_is_set_aside() {
    let test = CliTest::new();
    let line = "{\"feedback_id\":\"a\",\"timestamp\":\"2025-10-07T18:32:13Z\",\"input_text\":\"b\",\
        \"output_text\":\"c\",\"user_rating\":1,\"source\":\"5f\",\"source_records\":10,\"excluded\":true}";
    test.write("one.jsonl", line);
    assert!(test.run("feedback import one.jsonl").status.success());
    let out: Value = serde_json::from_slice(&test.run("feedback export").stdout).unwrap();
    assert_eq!(
        (&out["source"], &out["source_records"]),
        (&"5f".into(), &10.into())
    );
    assert_eq!(out["excluded"], true);
}

#[test]
fn feedback_is_copied_and_deleted() {
    let test = CliTest::new();
    test.write("old.json", PROTOTYPE);
    assert!(test.run("feedback import old.json").status.success());
    snapshot!(test, "backup copy.db", @r"
    success: true
    exit_code: 0
    ----- stdout -----

    ----- stderr -----
    wrote copy.db
    ");
    snapshot!(test, "feedback delete --before 2025-10-07T18:32:13.463Z", @r"
    success: true
    exit_code: 0
    ----- stdout -----

    ----- stderr -----
    answers deleted: 1; feedback deleted: 1
    ");
    let left = |database: &str| {
        let out = test
            .run(&format!("feedback export --database {database}"))
            .stdout;
        String::from_utf8(out).unwrap().lines().count()
    };
    assert_eq!((left("itera-serve.db"), left("copy.db")), (1, 2));
    snapshot!(test, "feedback delete", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: the following required arguments were not provided:
      <--before <TIME>|--user <NAME>>

    Usage: itera-serve feedback delete <--before <TIME>|--user <NAME>>

    For more information, try '--help'.
    ");
}

#[test]
fn what_is_no_feedback_is_named_and_nothing_is_imported() {
    let test = CliTest::new();
    test.write("a.jsonl", "{\"feedback_id\": \"a\"}\n");
    snapshot!(test, "feedback import a.jsonl", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `a.jsonl`, line 1, is no feedback record: missing field `timestamp` at line 1 column 20
    ");
    let record = |more: &str| {
        format!(
            "{{\"feedback_id\": \"a\", \"timestamp\": \"2026-01-31T12:00:00Z\", \
             \"input_text\": \"x\", \"output_text\": \"y\"{more}}}\n"
        )
    };
    let good = record(", \"user_rating\": 3");
    test.write("b.jsonl", good.clone() + &record(", \"user_rating\": 9"));
    snapshot!(test, "feedback import b.jsonl", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `b.jsonl`, record 2: `user_rating` is 9, expected 1 to 5
    ");
    test.write("c.jsonl", good + &record(""));
    snapshot!(test, "feedback import c.jsonl", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `c.jsonl`, record 2: it has no verdict: give `user_rating`, `correctness` or `correction`
    ");
    // An empty correction is none.
    test.write("e.jsonl", record(", \"correction\": \"\""));
    snapshot!(test, "feedback import e.jsonl", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `e.jsonl`, record 1: it has no verdict: give `user_rating`, `correctness` or `correction`
    ");
    test.write("d.jsonl", "\n");
    snapshot!(test, "feedback import d.jsonl", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `d.jsonl` has no feedback
    ");
    snapshot!(test, "feedback import missing.jsonl", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot read `missing.jsonl` as UTF-8: No such file or directory (os error 2)
    ");
    snapshot!(test, "feedback export", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: there is no database `itera-serve.db`; give one with --database
    ");
}

//! `itera-train ablate`, with a small model on the sample text.

use itera_record::{AblationRecord, Record as _};

use crate::fixture::{CliTest, assert_snapshot};

const COMMAND: &str = "ablate --plan plan.json --output ablations.json --jobs 1";

/// A plan of three variants and these seeds, whose base reads `bytes` of text.
fn plan(bytes: u64, seeds: &str, more: &str) -> String {
    format!(
        r#"{{"studies": [{{
            "name": "sample", "text_bytes": {bytes}, "seeds": {seeds},
            "base": {{
                "dataset": "sample-tinystories", "preset": "test", "tokenizer": "bytes",
                "batch": "2", "length": "16", "replicas": "1"
            }},
            "variants": [
                {{"axis": "state", "name": "2 columns", "set": {{"size": ["d_state=2"]}}}},
                {{"axis": "architecture", "name": "transformer", "transformer": true}}
                {more}
            ]
        }}]}}"#
    )
}

fn test(plan: &str) -> CliTest {
    let test = CliTest::new();
    test.write("plan.json", plan);
    test
}

fn record(test: &CliTest) -> AblationRecord {
    AblationRecord::from_json(&test.read("ablations.json")).unwrap()
}

#[test]
fn help() {
    assert_snapshot!(CliTest::new().command("ablate --help"));
}

#[test]
fn every_variant_reads_the_same_text_and_is_measured() {
    let test = test(&plan(256, "[1, 2]", ""));
    let output = test.run(COMMAND);
    let record = record(&test);
    let [study] = &record.studies[..] else {
        panic!("{record:?}");
    };
    let names: Vec<_> = study.variants.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["base", "2 columns", "transformer"]);
    for variant in &study.variants {
        let seeds: Vec<u64> = variant.runs.iter().map(|run| run.seed).collect();
        assert_eq!(seeds, [1, 2], "{}", variant.name);
        for run in &variant.runs {
            // 256 bytes are 8 segments of 2 x 16 bytes.
            assert_eq!((run.steps, run.tokens), (8, 256));
            let bits = run.valid_bits_per_byte.unwrap();
            assert!((2.0..9.0).contains(&bits), "{}: {bits}", variant.name);
        }
    }
    let params = |variant: usize| study.variants[variant].params;
    assert!(params(1) < params(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("2 columns"));
}

#[test]
fn what_is_done_is_not_done_again_and_what_is_changed_is() {
    let test = test(&plan(64, "[1]", ""));
    test.run(COMMAND);
    let first = record(&test);
    // One seed more, and another base size for one variant: only those are run.
    test.write(
        "plan.json",
        plan(64, "[1, 2]", "").replace("d_state=2", "d_state=3"),
    );
    let before = test.read("ablations.json");
    let said = test.refused(COMMAND);
    assert!(
        said.contains("state: 2 columns; drop them with `--replace`"),
        "{said}"
    );
    assert!(test.read("ablations.json") == before);
    let output = test.run(&format!("{COMMAND} --replace"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("4 runs to do"), "{said}");
    let second = record(&test);
    let run = |record: &AblationRecord, variant: usize| {
        record.studies[0].variants[variant].runs[0].clone()
    };
    assert_eq!(run(&first, 0), run(&second, 0));
    assert_eq!(run(&first, 2), run(&second, 2));
    assert_ne!(
        first.studies[0].variants[1].params,
        second.studies[0].variants[1].params
    );
}

#[test]
fn the_plan_is_not_there() {
    assert_snapshot!(CliTest::new().command(COMMAND));
}

#[test]
fn an_option_of_the_plan_is_unknown() {
    let test = test(&plan(
        64,
        "[1]",
        r#", {"axis": "x", "name": "y", "set": {"depth": "3"}}"#,
    ));
    assert_snapshot!(test.command(COMMAND));
}

#[test]
fn two_variants_have_one_name() {
    let test = test(&plan(
        64,
        "[1]",
        r#", {"axis": "state", "name": "2 columns"}"#,
    ));
    assert_snapshot!(test.command(COMMAND));
}

#[test]
fn a_transformer_is_asked_for_what_it_has_not() {
    for more in [r#""length": "1024""#, r#""quantize": "int4""#] {
        let variant = r#", {"axis": "x", "name": "y", "transformer": true, "set": {MORE}}"#;
        let test = test(&plan(64, "[1]", &variant.replace("MORE", more)));
        assert_snapshot!(test.command(COMMAND));
    }
}

#[test]
fn a_variant_is_not_evaluated() {
    let test = test(&plan(
        64,
        "[1]",
        r#", {"axis": "x", "name": "y", "set": {"evaluate-every": "0"}}"#,
    ));
    assert_snapshot!(test.command(COMMAND));
}

#[test]
fn there_is_no_text_to_evaluate_on() {
    let test = test(&plan(64, "[1]", "").replace("sample-tinystories", "few.txt"));
    test.write("few.txt", "A story.\n".repeat(20));
    assert_snapshot!(test.command(COMMAND));
}

#[test]
fn a_plan_may_go_over_to_another_text() {
    let test = test(&plan(64, "[1]", ""));
    test.run(COMMAND);
    let other = plan(64, "[1]", "").replace("sample-tinystories", "sample-wikitext2");
    test.write("plan.json", other);
    test.run(&format!("{COMMAND} --replace"));
    let studies = record(&test).studies;
    assert_eq!(studies[0].data[0].dataset, "sample-wikitext2");
    assert!(
        studies[0]
            .variants
            .iter()
            .all(|variant| variant.runs.len() == 1)
    );
}

#[test]
fn the_output_is_something_else() {
    let test = test(&plan(64, "[1]", ""));
    test.write("ablations.json", "{}");
    assert_snapshot!(test.command(COMMAND));
}

#[test]
fn what_the_plan_does_not_name_stays_in_the_record() {
    let first = plan(
        64,
        "[1]",
        r#", {"axis": "x", "name": "y", "set": {"clip": "0.5"}}"#,
    );
    let test = test(&first);
    test.run(COMMAND);
    let before = record(&test).studies.remove(0);
    // A variant less.
    test.write("plan.json", plan(64, "[1]", ""));
    test.run(COMMAND);
    assert_eq!(record(&test).studies, std::slice::from_ref(&before));
    // Another study, by a renamed plan.
    test.write(
        "plan.json",
        plan(64, "[1]", "").replace(r#""sample""#, r#""renamed""#),
    );
    test.run(COMMAND);
    let studies = record(&test).studies;
    let names: Vec<_> = studies.iter().map(|study| study.name.as_str()).collect();
    assert_eq!(names, ["sample", "renamed"]);
    assert_eq!(studies[0], before);
    // Another budget under the old name.
    test.write("plan.json", plan(128, "[1]", ""));
    let said = test.refused(COMMAND);
    assert!(
        said.contains("runs of study `sample` that the plan describes otherwise now"),
        "{said}"
    );
    assert_eq!(record(&test).studies, studies);
}

#[test]
fn a_run_that_fails_stops_the_others() {
    // The other run alone would take minutes.
    let failing = r#", {"axis": "x", "name": "y", "set": {"valid": "no.txt"}}"#;
    let plan = plan(8_000_000, "[1]", failing);
    let [base, variants] =
        [plan.find("\"variants\": ["), plan.find("{\"axis\": \"x\"")].map(Option::unwrap);
    let test = test(&format!(
        "{}\"variants\": [{}",
        &plan[..base],
        &plan[variants..]
    ));
    let said = test.refused("ablate --plan plan.json --output ablations.json --jobs 2");
    assert!(said.contains("variant `x: y` of study `sample`"), "{said}");
    assert!(said.contains("no.txt"), "{said}");
    assert!(!test.files().contains(&"ablations.json".to_owned()));
}

#[test]
fn no_run_begins_after_the_minutes() {
    let test = test(&plan(64, "[1]", ""));
    let output = test.run(&format!("{COMMAND} --minutes 0"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("3 runs to do"));
    assert!(!test.files().contains(&"ablations.json".to_owned()));
}

#[test]
fn seeds_and_studies_that_stand_twice_are_refused() {
    let said = test(&plan(64, "[1, 2, 1]", "")).refused(COMMAND);
    assert!(said.contains("`seeds` has 1 twice"), "{said}");
    let one = plan(64, "[1]", "");
    let study = one
        .trim_start_matches(r#"{"studies": ["#)
        .trim_end_matches("]}");
    let said = test(&format!(r#"{{"studies": [{study}, {study}]}}"#)).refused(COMMAND);
    assert!(said.contains("two studies `sample`"), "{said}");
}

#[test]
fn there_are_too_many_jobs() {
    let test = test(&plan(64, "[1]", ""));
    for jobs in ["0", "100000"] {
        let said = test.refused(&format!(
            "ablate --plan plan.json --output a.json --jobs {jobs}"
        ));
        assert!(
            said.contains(&format!("`--jobs` is {jobs}, expected 1 to 256")),
            "{said}"
        );
    }
}

#[test]
fn no_folder_for_temporary_files_is_needed() {
    let test = test(&plan(64, "[1]", ""));
    let output = test
        .command(COMMAND)
        .env("TMPDIR", "/nowhere")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

//! Bad files are listed with the reason and the rest is rendered; what cannot be done ends with exit
//! status 2 and a remedy.

use itera_record::Record as _;

use crate::{
    fixture::{CliTest, snapshot},
    records::validation,
};

#[test]
fn bad_files_are_listed_and_the_rest_is_rendered() {
    let test = CliTest::new();
    test.write("results/empty.json", " \n");
    test.write("results/malformed.json", "{\"schema\": \"itera.power/1\"");
    test.write("results/newer.json", "{\"schema\": \"itera.validation/2\"}");
    test.write("results/older.json", "{\"schema\": \"itera.power/0\"}");
    test.write("results/foreign.json", "{\"schema\": \"other/1\"}");
    test.write("results/none.json", "{}");
    test.write("results/other.json", "{\"schema\": \"itera.other/1\"}");
    test.write("results/binary.json", [0_u8, 255]);
    std::fs::remove_file(test.path("data/models/small.metrics.csv")).unwrap();
    snapshot!("bad_files_are_listed_and_the_rest_is_rendered", test, "");
    let report = test.read("reports/final_validation.md");
    let listed = report
        .split("## Files that could not be used")
        .nth(1)
        .unwrap();
    insta::assert_snapshot!("listed", listed);
    let scores = test.read("results/tables/scores.csv");
    assert!(scores.contains("1.23"), "the scores are shown");
    // What was just written is not stale, but the files are still bad.
    assert_eq!(test.run("--check").status.code(), Some(1));
}

#[test]
fn negative_energies_and_missing_numbers_are_refused() {
    let test = CliTest::new();
    test.replace(
        "results/power.json",
        "\"tdp_watts\": 65.0",
        "\"tdp_watts\": -65.0",
    );
    test.replace(
        "results/validation.json",
        "\"seconds\": 0.5",
        "\"seconds\": null",
    );
    snapshot!(
        "negative_energies_and_missing_numbers_are_refused",
        test,
        ""
    );
}

#[test]
fn two_models_under_one_name_are_not_mixed() {
    let test = CliTest::new();
    let scores = test.read("results/validation.json");
    let digest = scores.split("\"file_sha256\": \"").nth(1).unwrap()[..64].to_owned();
    test.replace("results/power.json", &digest, &"ab".repeat(32));
    snapshot!("two_models_under_one_name_are_not_mixed", test, "");
    let report = test.read("reports/final_validation.md");
    assert!(
        !report.contains("| `small` | fp32 |"),
        "the ambiguous model is left out"
    );
    let scores = test.read("results/tables/scores.csv");
    assert!(scores.contains("small,int8"), "others are shown");
}

#[test]
fn two_scores_of_one_thing_are_a_contradiction() {
    let test = CliTest::new();
    test.write("results/again.json", validation(0.01).to_json().unwrap());
    snapshot!(
        "two_scores_of_one_thing_are_a_contradiction",
        test,
        "--check"
    );
    // The same scores in two files are no contradiction.
    test.write("results/again.json", validation(0.0).to_json().unwrap());
    test.succeed("");
    test.succeed("--check");
}

#[test]
fn nothing_to_read_is_a_failed_check() {
    let test = CliTest::empty();
    test.write("results/validation.json", "");
    snapshot!("nothing_to_read_is_a_failed_check", test, "");
}

#[test]
fn what_cannot_be_done_says_what_to_do() {
    let test = CliTest::new();
    snapshot!(
        "what_cannot_be_done_says_what_to_do",
        test,
        "--results nowhere"
    );
    snapshot!(
        "what_cannot_be_done_says_what_to_do_2",
        test,
        "--compare nowhere"
    );
    snapshot!(
        "what_cannot_be_done_says_what_to_do_3",
        test,
        "--fail-on-regression 5"
    );
    snapshot!(
        "what_cannot_be_done_says_what_to_do_4",
        test,
        "--compare results --fail-on-regression -5"
    );
    test.write("file", "");
    snapshot!(
        "what_cannot_be_done_says_what_to_do_5",
        test,
        "--out file/reports"
    );
}

#[test]
fn energies_of_another_order_than_power_and_time_are_refused() {
    let test = CliTest::new();
    let mut power: serde_json::Value =
        serde_json::from_str(&test.read("results/power.json")).unwrap();
    for figure in power["rows"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .flat_map(|row| row["energy"].as_array_mut().unwrap())
    {
        for (field, factor) in [
            ("gross_joules_per_token", 1e-3),
            ("net_joules_per_token", 1e-3),
            ("tokens_per_joule", 1e3),
        ] {
            for bound in ["low", "nominal", "high"] {
                if let Some(value) = figure[field][bound].as_f64() {
                    figure[field][bound] = (value * factor).into();
                }
            }
        }
    }
    test.succeed("");
    test.write("results/power.json", power.to_string());
    let run = test.run("--check");
    let message = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(1), "{message}");
    assert!(
        message.contains("gross_joules_per_token.nominal"),
        "{message}"
    );
}

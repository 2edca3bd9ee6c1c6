//! The pages of a workspace: their blocks have the figures of the results, all else is theirs.

use serde_json::{Value, json};

use crate::fixture::{CliTest, snapshot};

/// The name of every block of a page.
const README: [&str; 15] = [
    "scores",
    "findings",
    "costs",
    "engine",
    "memory",
    "runtimes",
    "files",
    "energy",
    "server",
    "training_speed",
    "training_runs",
    "web",
    "web_package",
    "controller",
    "zip",
];
const MODELS: [&str; 2] = ["models", "runs"];

fn page(blocks: &[&str]) -> String {
    let block =
        |name: &&str| format!("By hand.\n\n<!-- {name}:begin -->\nold\n<!-- {name}:end -->\n");
    blocks.iter().map(block).collect()
}

fn test() -> CliTest {
    let test = CliTest::new();
    test.write("README.md", page(&README));
    test.write("data/models/README.md", page(&MODELS));
    test
}

#[test]
fn the_pages_are_those_that_were_reviewed() {
    let test = test();
    // A model to compare sizes with, beyond the budget of those that ship.
    let mut larger: Value = serde_json::from_str(&test.read("results/validation.json")).unwrap();
    let rows = larger["rows"].as_array_mut().unwrap();
    rows.truncate(1);
    for (field, value) in [
        ("name", json!("large")),
        ("file_sha256", json!("77".repeat(32))),
        ("params", json!(1_000_000)),
        ("bytes", json!(4_000_000)),
    ] {
        rows[0]["model"][field] = value;
    }
    test.write("results/compression.json", larger.to_string());
    test.succeed("");
    insta::assert_snapshot!("readme", test.read("README.md"));
    insta::assert_snapshot!("models", test.read("data/models/README.md"));
    test.succeed("--check");
}

#[test]
fn a_page_with_another_figure_is_stale() {
    let test = test();
    test.succeed("");
    test.replace("README.md", "requests/s", "requests a second");
    snapshot!("a_page_with_another_figure_is_stale", test, "--check");
}

#[test]
fn reports_that_go_elsewhere_leave_the_pages_alone() {
    let test = test();
    test.succeed("--out elsewhere");
    assert_eq!(test.read("README.md"), page(&README));
}

#[test]
fn blocks_without_results_say_so() {
    let test = test();
    for name in ["serve-bench", "serve-simulation"] {
        std::fs::remove_file(test.path(&format!("results/{name}.json"))).unwrap();
    }
    test.succeed("");
    let expected = "<!-- server:begin -->\nNot measured.\n<!-- server:end -->\n";
    assert!(test.read("README.md").contains(expected));
}

#[test]
fn a_block_is_unknown() {
    let test = test();
    test.replace("README.md", "server:", "servers:");
    snapshot!("a_block_is_unknown", test, "");
    assert!(!test.path("reports").exists());
}

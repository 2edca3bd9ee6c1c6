//! Figures compare like with like, and say what they are about.

use serde_json::{Value, json};

use crate::fixture::CliTest;

/// SHA-256 of the selection from TinyStories by which settings are chosen.
const DEV: &str = "ace5ae488323262f7c09f03c1b83bd07482960bdc0d36c3da85180a9cc06f592";

fn json_of(test: &CliTest, name: &str) -> Value {
    serde_json::from_str(&test.read(name)).unwrap()
}

/// The results with the scores changed by `change`, and what the reports say then.
fn reports(change: impl FnOnce(&CliTest, &mut Value)) -> CliTest {
    let test = CliTest::new();
    let mut scores = json_of(&test, "results/validation.json");
    change(&test, &mut scores);
    test.write("results/validation.json", scores.to_string());
    test.write("README.md", "<!-- scores:begin -->\n<!-- scores:end -->\n");
    test.succeed("");
    test
}

/// The first line that has a text.
fn line(text: &str, with: &str) -> String {
    let line = text.lines().find(|line| line.contains(with));
    line.unwrap_or_else(|| panic!("no `{with}` in {text}"))
        .to_owned()
}

#[test]
fn official_text_leads_with_the_reference_beside_it_and_a_selection_is_called_that() {
    let test = reports(|test, scores| {
        let rows = scores["rows"].as_array_mut().unwrap();
        // An older record names the selection by the split that it lay under.
        rows[1]["dataset_sha256"] = json!(DEV);
        rows[1]["split"] = json!("valid");
        rows[0]["dataset"] = json!("tinystories-head");
        rows[0]["split"] = json!("valid");
        rows[0]["dataset_verdict"] = json!("official TinyStories V1 validation split");
        let mut reference = scores.clone();
        let rows = reference["rows"].as_array_mut().unwrap();
        rows.truncate(1);
        rows[0]["model"]["name"] = json!("stories260K");
        rows[0]["model"]["file_sha256"] = json!("26".repeat(32));
        rows[0]["model"]["params"] = json!(260_032);
        rows[0]["engine"] = json!("numpy");
        rows[0]["bits_per_byte_ci95"] = Value::Null;
        test.write("results/stories260k.json", reference.to_string());
    });
    let readme = test.read("README.md");
    let head = readme.find("tinystories-head, 2 documents |").unwrap();
    assert!(
        readme
            .find("wikitext2 test")
            .is_none_or(|articles| head < articles)
    );
    assert!(!readme.contains("tinystories-dev"), "{readme}");
    let reference = line(&readme, "the reference of this size");
    assert!(
        reference.contains("`stories260K` of llama2.c"),
        "{reference}"
    );
    let report = test.read("reports/final_validation.md");
    let quality = line(&report, "**Quality.**");
    assert!(quality.contains("tinystories-head"), "{quality}");
    assert!(
        quality.contains("`stories260K` of llama2.c (260,032 parameters)"),
        "{quality}"
    );
    let caveat = "tinystories-dev, 2 documents (selection; not the official split)";
    assert!(report.contains(caveat), "{report}");
    let chart = line(&report, "![Bits per byte");
    assert!(chart.contains("on tinystories-head"), "{chart}");
}

#[test]
fn a_file_of_several_precisions_is_not_called_after_the_lowest() {
    let test = reports(|_, scores| {
        let int4 = &mut scores["rows"][2]["model"];
        int4["bits_per_weight"] = json!(5.94);
    });
    let scores = test.read("reports/validation_report.md");
    let row = line(&scores, "| `small` | mixed, 5.9 bits |");
    assert!(!row.contains("int4"), "{row}");
    assert!(!scores.contains("| int4 | 1.2600 |"), "{scores}");
}

#[test]
fn the_size_of_a_model_is_said_beside_a_compressor() {
    let test = reports(|_, scores| {
        for row in scores["rows"].as_array_mut().unwrap() {
            let nats = row["nll_nats"].as_f64().unwrap();
            let text = (nats / std::f64::consts::LN_2 / 8.0).ceil() as u64;
            row["code_length"] = json!({
                "text_bytes": text, "model_file_bytes": 120_000, "total_bytes": text + 120_000,
            });
        }
    });
    let report = test.read("reports/validation_report.md");
    assert!(line(&report, "text by zstd").contains("model file, bytes | both, bytes"));
    let quality = test.read("reports/final_validation.md");
    let quality = line(&quality, "**Quality.**");
    assert!(quality.contains("of model against"), "{quality}");
}

#[test]
fn the_prototype_is_compared_with_the_model_of_its_size_only() {
    let figures = |name: &str| {
        let test = CliTest::new();
        let mut bench = json_of(&test, "results/engine-bench.json");
        bench["model"]["name"] = json!(name);
        bench["model"]["file_sha256"] = json!("31".repeat(32));
        test.write("results/engine-bench.json", bench.to_string());
        test.succeed("--results results --out reports");
        test.read("reports/final_validation.md")
    };
    let speed = "tokens/s, writing on 2 cores, fp32";
    assert!(line(&figures("micro-stories"), speed).contains('×'));
    for other in ["nano-stories", "micro-stories-char"] {
        let row = line(&figures(other), speed);
        assert!(row.contains("not measured"), "{other}: {row}");
    }
    // By other protocols there is no ratio.
    let report = figures("micro-stories");
    for row in report
        .lines()
        .filter(|line| line.contains("| not comparable"))
    {
        assert!(row.contains("| – | not comparable"), "{row}");
    }
    assert_eq!(report.matches("| not comparable").count(), 5);
}

#[test]
fn a_training_run_names_its_machine() {
    let test = CliTest::new();
    test.succeed("--results results --out reports");
    let row = line(
        &test.read("reports/validation_report.md"),
        "| `small` | tinystories train",
    );
    assert!(row.contains("| Some CPU, 2 cores |"), "{row}");
}

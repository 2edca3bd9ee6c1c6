//! An interrupted run goes on exactly where it was, or not at all.

use std::process::Command;

use crate::fixture::{CliTest, QUICK_FIT, assert_snapshot};

/// Columns of the metrics that depend on the clock.
const CLOCK_COLUMNS: [usize; 2] = [10, 11];

#[test]
fn two_halves_equal_the_whole() {
    for backend in ["flex", "ndarray"] {
        let fit = format!("{QUICK_FIT} --steps 12 --backend {backend} --output x.safetensors");
        let whole = CliTest::new();
        whole.run(&fit);

        let halves = CliTest::new();
        halves.run(&format!("{fit} --stop-after 5"));
        assert!(halves.files().contains(&"x.resume".to_owned()));
        let half = halves.read("x.safetensors");
        halves.run(&format!("{fit} --resume"));
        assert!(!halves.files().contains(&"x.resume".to_owned()));

        let expected = whole.read("x.safetensors");
        assert!(half != expected, "{backend}: the second half does nothing");
        assert!(
            halves.read("x.safetensors") == expected,
            "{backend}: the weights differ"
        );
        assert_eq!(metrics(&halves), metrics(&whole), "{backend}");
    }
}

/// The metrics without the columns of the clock.
fn metrics(test: &CliTest) -> Vec<Vec<String>> {
    let content = test.read("x.metrics.csv");
    let records = csv::Reader::from_reader(&*content).into_records();
    let cells = |record: csv::StringRecord| {
        let kept = record
            .iter()
            .enumerate()
            .filter(|(column, _)| !CLOCK_COLUMNS.contains(column));
        kept.map(|(_, cell)| cell.to_owned()).collect()
    };
    records.map(|record| cells(record.unwrap())).collect()
}

#[test]
fn interrupted_run_says_how_to_go_on() {
    assert_snapshot!(interrupted(&CliTest::new()));
}

#[test]
fn other_settings_are_refused() {
    let test = CliTest::new();
    interrupted(&test).output().unwrap();
    let fit = format!("{QUICK_FIT} --steps 8 --output x.safetensors --resume");
    assert_snapshot!(test.command(&format!("{fit} --learning-rate 0.001")));
}

#[test]
fn other_steps_are_refused() {
    let test = CliTest::new();
    interrupted(&test).output().unwrap();
    assert_snapshot!(test.command(&format!(
        "{QUICK_FIT} --steps 9 --output x.safetensors --resume"
    )));
}

#[test]
fn minutes_in_place_of_steps_are_refused() {
    let test = CliTest::new();
    interrupted(&test).output().unwrap();
    assert_snapshot!(test.command(&format!(
        "{QUICK_FIT} --minutes 9 --output x.safetensors --resume"
    )));
}

#[test]
fn another_text_is_refused() {
    let test = CliTest::new();
    let fit = QUICK_FIT.replace("sample-tinystories", "text.txt");
    let fit = format!("{fit} --steps 8 --output x.safetensors");
    let text = "A story.\n<|endoftext|>\n".repeat(40);
    test.write("text.txt", &text);
    test.run(&format!("{fit} --stop-after 3"));
    test.write("text.txt", text.replacen("story", "tale", 1));
    assert_snapshot!(test.command(&format!("{fit} --resume")));
}

#[test]
fn another_form_of_the_text_is_refused() {
    let test = CliTest::new();
    interrupted(&test).output().unwrap();
    let fit = format!("{QUICK_FIT} --steps 8 --output x.safetensors --resume");
    let said = test.refused(&format!("{fit} --blank-lines 0.5"));
    assert!(
        said.contains("`blank_lines` is 0.5, the interrupted run has 0.0"),
        "{said}"
    );
}

#[test]
fn nothing_to_resume() {
    let test = CliTest::new();
    assert_snapshot!(test.command(&format!(
        "{QUICK_FIT} --steps 8 --output x.safetensors --resume"
    )));
}

#[test]
fn broken_file_is_refused() {
    let test = CliTest::new();
    test.write("x.resume", "not a run\n");
    assert_snapshot!(test.command(&format!(
        "{QUICK_FIT} --steps 8 --output x.safetensors --resume"
    )));
}

#[test]
fn file_cut_short_is_refused() {
    let test = CliTest::new();
    interrupted(&test).output().unwrap();
    let whole = test.read("x.resume");
    test.write("x.resume", &whole[..whole.len() - 100]);
    let fit = format!("{QUICK_FIT} --steps 8 --output x.safetensors --resume");
    let output = test.command(&fit).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains("cannot resume `x.resume`; delete it to begin anew"),
        "{message}"
    );
}

#[test]
fn new_run_does_not_replace_an_interrupted_one() {
    let test = CliTest::new();
    interrupted(&test).output().unwrap();
    assert_snapshot!(interrupted(&test));
}

/// A run of 8 steps that stops after 3.
fn interrupted(test: &CliTest) -> Command {
    test.command(&format!(
        "{QUICK_FIT} --steps 8 --output x.safetensors --stop-after 3"
    ))
}

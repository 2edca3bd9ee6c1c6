//! Runs that are interrupted, that meet each other, and whose disk fails.

#![cfg(unix)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::symlink,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use itera_record::{AblationRecord, Record as _};

use crate::fixture::{CliTest, QUICK_FIT};

/// A program in the background, killed when the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

impl Running {
    fn start(mut command: Command) -> Self {
        let stderr = command.stderr(Stdio::piped()).stdout(Stdio::piped());
        Self(stderr.spawn().unwrap())
    }

    /// A long run that saves itself often, as soon as it has.
    fn fit(test: &CliTest, output: &str) -> Self {
        let run = Self::start(test.command(&format!(
            "{QUICK_FIT} --steps 1000000 --save-every 0.001 --quiet --output {output}.safetensors"
        )));
        wait_for(|| test.path(&format!("{output}.resume")).exists());
        run
    }

    /// The next line on standard error that has these words.
    fn line_with(&mut self, words: &str) -> String {
        let lines = BufReader::new(self.0.stderr.as_mut().unwrap()).lines();
        lines
            .map(Result::unwrap)
            .find(|line| line.contains(words))
            .unwrap()
    }

    /// Sends a signal; the exit status and the rest of standard error.
    fn end(self, signal: &str) -> (Option<i32>, String) {
        let kill = Command::new("kill")
            .args([signal, &self.0.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
        self.finish()
    }

    /// The exit status and the rest of standard error.
    fn finish(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        self.0
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        (self.0.wait().unwrap().code(), said)
    }
}

fn wait_for(mut is_so: impl FnMut() -> bool) {
    for _ in 0..1200 {
        if is_so() {
            return;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("it takes more than a minute");
}

#[test]
fn a_signal_saves_the_run_and_is_the_exit_status() {
    for (signal, status) in [("-INT", 130), ("-TERM", 143)] {
        let test = CliTest::new();
        let (code, said) = Running::fit(&test, "x").end(signal);
        assert_eq!(code, Some(status), "{said}");
        assert!(said.contains("the same command with `--resume`"), "{said}");
        let files = ["x.curve.png", "x.metrics.csv", "x.resume", "x.safetensors"];
        assert_eq!(test.files(), files);
    }
}

#[test]
fn a_signal_ends_ablate_after_what_is_recorded() {
    let test = CliTest::new();
    let seeds: Vec<String> = (0..10_000).map(|seed| seed.to_string()).collect();
    test.write(
        "plan.json",
        format!(
            r#"{{"studies": [{{"name": "s", "text_bytes": 64, "seeds": [{}], "variants": [], "base": {{
                "dataset": "sample-tinystories", "preset": "test", "tokenizer": "bytes",
                "batch": "2", "length": "16", "replicas": "1"}}}}]}}"#,
            seeds.join(", ")
        ),
    );
    let run = Running::start(test.command("ablate --plan plan.json --output a.json"));
    wait_for(|| test.path("a.json").exists());
    let (code, said) = run.end("-INT");
    assert_eq!(code, Some(130), "{said}");
    let record = AblationRecord::from_json(&test.read("a.json")).unwrap();
    assert!(!record.studies[0].variants[0].runs.is_empty());
    assert_eq!(test.files(), ["a.json", "plan.json"]);
}

#[test]
fn two_runs_do_not_write_one_file() {
    let test = CliTest::new();
    let first = Running::fit(&test, "x");
    let second = test.refused(&format!("{QUICK_FIT} --steps 1 --output ./x.safetensors"));
    assert!(
        second.contains("another process is writing `./x.safetensors`"),
        "{second}"
    );
    assert_eq!(first.end("-INT").0, Some(130));
    assert!(test.path("x.resume").exists());
}

/// Where nothing can be written, even by root: below a file.
fn with_folder() -> CliTest {
    let test = CliTest::new();
    test.write("file", "");
    fs::create_dir(test.path("real")).unwrap();
    symlink("real", test.path("out")).unwrap();
    test
}

/// Makes `out` lead elsewhere, at once.
fn lead_to(test: &CliTest, target: &str) {
    symlink(target, test.path("next")).unwrap();
    fs::rename(test.path("next"), test.path("out")).unwrap();
}

#[test]
fn a_run_outlives_a_save_that_fails() {
    let test = with_folder();
    let mut run = Running::fit(&test, "out/x");
    lead_to(&test, "file");
    // The curve may fail first.
    let said = run.line_with("`out/x.resume`");
    assert!(
        said.starts_with("warning: cannot write `out/x.resume`")
            && said.contains("the run goes on"),
        "{said}"
    );
    lead_to(&test, "real");
    fs::remove_file(test.path("real/x.resume")).unwrap();
    wait_for(|| test.path("real/x.resume").exists());
    assert_eq!(run.end("-INT").0, Some(130));
}

#[test]
fn a_run_that_cannot_be_saved_at_its_end_fails() {
    let test = with_folder();
    let mut run = Running::fit(&test, "out/x");
    lead_to(&test, "file");
    run.line_with("the run goes on");
    let (code, said) = run.end("-TERM");
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("error: cannot write `out/x.resume`"),
        "{said}"
    );
}

#[test]
fn a_finished_run_whose_files_cannot_be_written_is_saved() {
    let test = CliTest::new();
    let fit = format!("{QUICK_FIT} --steps 1500 --evaluate-every 0 --save-every 0.001 --quiet --output x.safetensors")
        .replace("--evaluate-every 4 ", "");
    let run = Running::start(test.command(&fit));
    // Once it is under way, a folder where the metrics should be written.
    wait_for(|| test.path("x.resume").exists());
    wait_for(|| {
        let _ = fs::remove_file(test.path("x.metrics.csv"));
        fs::create_dir(test.path("x.metrics.csv")).is_ok()
    });
    let (code, said) = run.finish();
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("is at its end and saved in `x.resume`"),
        "{said}"
    );
    fs::remove_dir(test.path("x.metrics.csv")).unwrap();
    test.run(&format!("{fit} --resume"));
    let files = [
        "x.curve.png",
        "x.metrics.csv",
        "x.safetensors",
        "x.training.json",
    ];
    assert_eq!(test.files(), files);
}

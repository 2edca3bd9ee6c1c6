//! `score` on inputs that end too early, disks that fill, outputs that two want, and names of every kind: exit status
//! 2, one message with the place and the remedy, and nothing under the name of the output.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use itera_testing::skip;

use crate::fixture::CliTest;

fn score(test: &CliTest, arguments: &str) -> Output {
    let arguments = format!("score --checkpoint small {arguments}");
    test.command(&arguments).output().unwrap()
}

/// Runs the program, which must succeed; its standard output.
fn succeed(test: &CliTest, arguments: &str) -> String {
    let run = score(test, arguments);
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{arguments}: {said}");
    String::from_utf8(run.stdout).unwrap()
}

/// What the program says, in one line, when it refuses.
fn refused(run: Output) -> String {
    let said = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(2), "{said}");
    assert!(said.starts_with("error: "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

/// JSON lines of so many stories.
fn lines(count: usize) -> String {
    let line = |number: usize| {
        let word = number.wrapping_mul(2_654_435_761) % 1_000_003;
        format!("{{\"text\": \"Tim had {word} cats. They ran {number}.\"}}\n")
    };
    (0..count).map(line).collect()
}

#[test]
fn a_file_that_is_cut_short_is_no_whole_one() {
    let test = CliTest::new();
    test.write("lines.jsonl", lines(2000));
    // Rows with their text are an input of each form.
    for name in ["rows.jsonl.gz", "rows.jsonl.zst", "rows.parquet"] {
        succeed(&test, &format!("lines.jsonl --keep-text --output {name}"));
        let whole = fs::read(test.path(name)).unwrap();
        let cut = format!("cut.{name}");
        fs::write(test.path(&cut), &whole[..whole.len() * 2 / 3]).unwrap();
        for option in ["", "--on-error skip --resume"] {
            let said = refused(score(&test, &format!("{cut} --output out.jsonl {option}")));
            assert!(
                said.contains(&format!("cannot read `{cut}` to its end")),
                "{said}"
            );
            assert!(said.contains("get a whole copy"), "{said}");
            assert!(!test.path("out.jsonl").exists(), "{name}");
        }
        let arguments = format!("--checkpoint small --dataset {cut} --output out.json");
        let said = refused(test.command(&arguments).output().unwrap());
        assert!(said.contains("get a whole copy"), "{said}");
        assert!(!test.path("out.json").exists());
        for left in ["out.jsonl.partial", "out.jsonl.resume"] {
            let _ = fs::remove_file(test.path(left));
        }
    }
    let said = refused(score(&test, "rows.parquet --text-field body"));
    assert!(
        said.contains("no column of texts `body`; it has id, text"),
        "{said}"
    );
}

/// Runs a shell in which the folder `small` is a disk of 64 kB; none where the system does not allow that.
#[cfg(target_os = "linux")]
fn with_small_disk(test: &CliTest, script: &str) -> Option<Output> {
    fs::create_dir(test.path("small")).unwrap();
    let run = |script: &str| {
        let program = test.command("");
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "--map-root-user", "sh", "-c", script]);
        shell.current_dir(program.get_current_dir().unwrap());
        for (name, value) in program.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        shell.env("PROGRAM", program.get_program());
        shell.output().ok()
    };
    let mount = "mount -t tmpfs -o size=64k tmpfs small";
    if !run(mount).is_some_and(|run| run.status.success()) {
        skip("no disk can be mounted here, so that none is filled");
        return None;
    }
    run(&format!("{mount} && {script}"))
}

#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_fills_leaves_nothing_that_looks_whole() {
    for name in ["rows.jsonl", "rows.parquet"] {
        let test = CliTest::new();
        test.write("lines.jsonl", lines(2000));
        succeed(&test, &format!("lines.jsonl --output {name}"));
        let score =
            format!("\"$PROGRAM\" score --checkpoint small lines.jsonl --output small/{name}");
        let script = format!(
            "{{ {score} 2> said; echo $? > status; ls small > there; mount -o remount,size=4m small && \
             {score} --resume && cp small/{name} resumed; }}"
        );
        let Some(run) = with_small_disk(&test, &script) else {
            return;
        };
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{said}");
        let read = |name: &str| fs::read_to_string(test.path(name)).unwrap();
        assert_eq!(read("status"), "2\n");
        let said = read("said");
        assert!(
            said.contains("make room and go on with `--resume`"),
            "{said}"
        );
        assert!(
            !read("there").lines().any(|there| there == name),
            "{}",
            read("there")
        );
        let whole = fs::read(test.path(name)).unwrap();
        assert!(fs::read(test.path("resumed")).unwrap() == whole, "{name}");
    }
}

#[test]
#[cfg(unix)]
fn an_output_that_another_process_writes_is_left_to_it() {
    let test = CliTest::new();
    test.write("lines.jsonl", lines(10));
    // It waits for its input.
    let mut first = test.command("score --checkpoint small - --output rows.jsonl");
    let mut first = first
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !test.path("rows.jsonl.partial").exists() {
        assert!(first.try_wait().unwrap().is_none());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    for option in ["", "--resume"] {
        let said = refused(score(
            &test,
            &format!("lines.jsonl --output rows.jsonl {option}"),
        ));
        assert!(
            said.contains("another process is writing `rows.jsonl`"),
            "{said}"
        );
    }
    drop(first.stdin.take());
    assert!(first.wait().unwrap().success());
    assert_eq!(fs::read(test.path("rows.jsonl")).unwrap(), b"");
}

#[test]
#[cfg(unix)]
fn files_of_a_folder_may_have_any_name_and_empty_ones_are_left_out() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

    let test = CliTest::new();
    fs::create_dir(test.path("in")).unwrap();
    for (name, text) in [
        (&b"na\xefve.txt"[..], "one"),
        (b"na\xeeve.txt", "one again"),
        (b"two words.txt", "two"),
        (b"zero.txt", ""),
    ] {
        fs::write(test.path("in").join(OsStr::from_bytes(name)), text).unwrap();
    }
    let rows = succeed(&test, "in");
    let ids: Vec<String> = rows
        .lines()
        .map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap()["id"].to_string())
        .collect();
    // No two files have one name.
    let expected = [r"na\\xeeve.txt:0", r"na\\xefve.txt:0", "two words.txt:0"];
    assert_eq!(ids, expected.map(|id| format!("\"{id}\"")));
    let mut command = test.command("score --checkpoint small");
    let path = Path::new("in").join("two words.txt");
    let run = command
        .arg(path)
        .args(["--output", "out rows.jsonl"])
        .output();
    assert!(run.unwrap().status.success());
    assert!(test.path("out rows.jsonl").exists());
}

//! `scripts/fetch-data.sh` against a server on this machine: fetch, check, resume, refuse, rest.

mod server;
mod zip;

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use itera_data::{Corpus, Places, Split, sha256_hex};
use server::{Files, Server};

const SPLITS: [(&str, &[u8]); 3] = [
    ("test", b" \n = One = \n \n a test \n"),
    ("valid", b" \n = Two = \n \n valid \n"),
    ("train", b" \n = Six = \n \n trains \n"),
];

/// A data folder, a server and the pins of what it ought to serve.
struct Fixture {
    dir: tempfile::TempDir,
    server: Server,
}

struct Outcome {
    status: i32,
    stderr: String,
}

impl Fixture {
    /// `None` and a visible line where the script cannot run.
    fn new(files: Files, pins: &[(&str, &str, String)]) -> Option<Self> {
        for tool in ["bash", "curl"] {
            let found = Command::new(tool)
                .arg("--version")
                .stdout(Stdio::null())
                .status();
            if !found.is_ok_and(|status| status.success()) {
                // Not `eprintln!`, which the test runner hides when a test passes.
                let _ = writeln!(
                    io::stderr(),
                    "SKIPPED: fetch-data.sh is not tested without {tool}"
                );
                return None;
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let lines = pins
            .iter()
            .map(|(name, kind, value)| format!("{name} {kind} {value}\n"));
        fs::write(dir.path().join("pins"), lines.collect::<String>()).unwrap();
        Some(Self {
            dir,
            server: Server::start(files),
        })
    }

    /// A server with a story file of 1,000 bytes whose size is pinned.
    fn with_stories() -> Option<Self> {
        let pins = [("tinystories/valid.txt", "bytes", "1000".to_owned())];
        Self::new(vec![("TinyStories-valid.txt", stories())], &pins)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("data").join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.file(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/fetch-data.sh");
        let output = Command::new("bash")
            .arg(script)
            .args(arguments)
            .env("ITERA_DATA_DIR", self.dir.path().join("data"))
            .env("ITERA_FETCH_BASE_URL", &self.server.base_url)
            .env("ITERA_FETCH_PINS", self.dir.path().join("pins"))
            .env("no_proxy", "*")
            .output()
            .unwrap();
        Outcome {
            status: output.status.code().unwrap_or(-1),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn fetch_stories(&self) -> Outcome {
        self.run(&["--only", "tinystories", "--small"])
    }
}

fn stories() -> Vec<u8> {
    (0..1000).map(|index| b'a' + (index % 23) as u8).collect()
}

#[test]
fn wikitext_is_fetched_checked_unpacked_and_then_left_alone() {
    let members = SPLITS.map(|(split, text)| (format!("wikitext-2/wiki.{split}.tokens"), text));
    let members = members
        .each_ref()
        .map(|(name, text)| (name.as_str(), *text));
    let zip = zip::archive(&members);
    let [test, valid, train] = SPLITS.map(|(_, text)| sha256_hex(text));
    let pins = [
        ("wikitext-2/wikitext-2-v1.zip", "sha256", sha256_hex(&zip)),
        ("wikitext-2/test.txt", "sha256", test),
        ("wikitext-2/valid.txt", "sha256", valid),
        ("wikitext-2/train.txt", "sha256", train),
    ];
    let files = vec![("wikitext-2-v1.zip", zip)];
    let Some(fixture) = Fixture::new(files, &pins) else {
        return;
    };

    let first = fixture.run(&["--only", "wikitext2"]);
    assert_eq!(first.status, 0, "{}", first.stderr);
    assert_eq!(fixture.server.requests(), ["wikitext-2-v1.zip"]);
    let mut names: Vec<_> = fs::read_dir(fixture.file("wikitext-2"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["test.txt", "train.txt", "valid.txt"]);
    let places = Places::new(vec![fixture.file("")]);
    for (split, text) in SPLITS {
        let split: Split = split.parse().unwrap();
        let corpus = Corpus::load(&"wikitext2".parse().unwrap(), Some(split), &places).unwrap();
        assert_eq!(corpus.sha256, sha256_hex(text));
    }

    let second = fixture.run(&["--only", "wikitext2"]);
    assert_eq!(second.status, 0, "{}", second.stderr);
    assert_eq!(second.stderr.matches("already there, checked").count(), 3);
    assert!(fixture.server.requests().is_empty());
}

/// 230 rows of invented text, written by pyarrow as the files on the hub are.
const PARQUET: &[u8] = include_bytes!("rows.parquet");

#[test]
fn the_head_of_the_stories_is_made_of_the_first_rows_of_the_parquet_file() {
    let story = |row| format!("Story {row}.\n\nIt ends well.\n<|endoftext|>\n");
    let head: String = (0..219).map(story).collect();
    let pins = [
        (
            "tinystories/validation.parquet",
            "bytes",
            PARQUET.len().to_string(),
        ),
        (
            "tinystories/official-head.txt",
            "sha256",
            sha256_hex(head.as_bytes()),
        ),
    ];
    let name = "data/validation-00000-of-00001-869c898b519ad725.parquet";
    let Some(fixture) = Fixture::new(vec![(name, PARQUET.to_vec())], &pins) else {
        return;
    };
    let outcome = fixture.run(&["--only", "tinystories-head"]);
    let pyarrow = Command::new("python3")
        .args(["-c", "import pyarrow"])
        .output();
    if !pyarrow.is_ok_and(|output| output.status.success()) {
        assert_eq!(outcome.status, 2, "{}", outcome.stderr);
        assert!(
            outcome.stderr.contains("pip install pyarrow"),
            "{}",
            outcome.stderr
        );
        assert!(fixture.server.requests().is_empty());
        let _ = writeln!(
            io::stderr(),
            "SKIPPED: no Parquet file is read without pyarrow"
        );
        return;
    }
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let made = fs::read_to_string(fixture.file("tinystories/official-head.txt")).unwrap();
    assert_eq!(made, head);
    assert!(!fixture.file("tinystories/validation.parquet").exists());
    assert_eq!(fixture.server.requests(), [name]);
    assert_eq!(fixture.run(&["--only", "tinystories-head"]).status, 0);
    assert!(fixture.server.requests().is_empty());

    // Other rows are no such text.
    fs::remove_dir_all(fixture.file("tinystories")).unwrap();
    let pins = fs::read_to_string(fixture.dir.path().join("pins")).unwrap();
    let pins = pins.replace(&sha256_hex(head.as_bytes()), &sha256_hex(b"other"));
    fs::write(fixture.dir.path().join("pins"), pins).unwrap();
    let outcome = fixture.run(&["--only", "tinystories-head"]);
    assert_eq!(outcome.status, 1, "{}", outcome.stderr);
    assert!(!fixture.file("tinystories/official-head.txt").exists());
}

#[test]
fn an_interrupted_download_continues_where_it_ended() {
    let Some(fixture) = Fixture::with_stories() else {
        return;
    };
    fixture.write("tinystories/valid.txt.part", &stories()[..400]);

    let outcome = fixture.fetch_stories();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert_eq!(
        fixture.server.requests(),
        ["TinyStories-valid.txt from 400"]
    );
    assert_eq!(
        fs::read(fixture.file("tinystories/valid.txt")).unwrap(),
        stories()
    );
    assert!(!fixture.file("tinystories/valid.txt.part").exists());
    let kept = fs::read_to_string(fixture.file("tinystories/valid.txt.sha256")).unwrap();
    assert_eq!(kept, format!("{}  valid.txt\n", sha256_hex(&stories())));
    assert!(outcome.stderr.contains(&sha256_hex(&stories())));

    assert_eq!(fixture.fetch_stories().status, 0);
    assert!(fixture.server.requests().is_empty());
}

#[test]
fn a_complete_part_is_taken_and_a_longer_one_is_fetched_anew() {
    let Some(fixture) = Fixture::with_stories() else {
        return;
    };
    fixture.write("tinystories/valid.txt.part", &stories());
    let outcome = fixture.fetch_stories();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert_eq!(
        fixture.server.requests(),
        ["TinyStories-valid.txt from 1000"]
    );

    fs::remove_dir_all(fixture.file("tinystories")).unwrap();
    fixture.write("tinystories/valid.txt.part", &[b'x'; 1200]);
    let outcome = fixture.fetch_stories();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let expected = ["TinyStories-valid.txt from 1200", "TinyStories-valid.txt"];
    assert_eq!(fixture.server.requests(), expected);
    assert_eq!(
        fs::read(fixture.file("tinystories/valid.txt")).unwrap(),
        stories()
    );
}

#[test]
fn a_wrong_file_is_set_aside_and_refused() {
    let pins = [(
        "tinystories/valid.txt",
        "sha256",
        sha256_hex(b"the right bytes"),
    )];
    let files = vec![("TinyStories-valid.txt", b"the wrong bytes".to_vec())];
    let Some(fixture) = Fixture::new(files, &pins) else {
        return;
    };

    let outcome = fixture.fetch_stories();
    assert_eq!(outcome.status, 1, "{}", outcome.stderr);
    assert!(!fixture.file("tinystories/valid.txt").exists());
    assert!(!fixture.file("tinystories/valid.txt.part").exists());
    assert!(fixture.file("tinystories/valid.txt.part.bad").exists());
    assert!(
        outcome
            .stderr
            .contains(&format!("expected {}", sha256_hex(b"the right bytes")))
    );
    assert!(
        outcome
            .stderr
            .contains("no mirror gave the official TinyStories-valid.txt")
    );
}

#[test]
fn a_file_of_the_users_own_is_never_overwritten() {
    let Some(fixture) = Fixture::with_stories() else {
        return;
    };
    fixture.write("tinystories/valid.txt", b"mine");
    let outcome = fixture.fetch_stories();
    assert_eq!(outcome.status, 1, "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .contains("is left as it is; move it away and run again")
    );
    assert_eq!(
        fs::read(fixture.file("tinystories/valid.txt")).unwrap(),
        b"mine"
    );

    // The same size, but not the bytes that were fetched.
    fixture.write("tinystories/valid.txt", &[b'x'; 1000]);
    fixture.write(
        "tinystories/valid.txt.sha256",
        sha256_hex(&stories()).as_bytes(),
    );
    assert_eq!(fixture.fetch_stories().status, 1);
    assert!(fixture.server.requests().is_empty());
}

#[test]
fn what_cannot_run_exits_with_2_and_a_remedy() {
    let pins = [("tinystories/valid.txt", "bytes", "1000".to_owned())];
    let Some(fixture) = Fixture::new(Vec::new(), &pins) else {
        return;
    };
    let outcome = fixture.fetch_stories();
    assert_eq!(outcome.status, 2, "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .contains("no mirror gave TinyStories-valid.txt; check the network")
    );

    for arguments in [&["--only", "penn"][..], &["--only"], &["--fast"]] {
        assert_eq!(fixture.run(arguments).status, 2, "{arguments:?}");
    }
    let help = fixture.run(&["--help"]);
    assert_eq!((help.status, help.stderr.as_str()), (0, ""));
}

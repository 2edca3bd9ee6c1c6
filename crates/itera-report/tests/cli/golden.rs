//! The same results give the same bytes: Markdown as snapshots, pictures by their digests.

use std::{collections::BTreeMap, fs, path::Path};

use itera_core::digest::sha256_hex;

use crate::fixture::CliTest;

/// Every file of a folder and its SHA-256.
fn digests(test: &CliTest, folder: &str) -> BTreeMap<String, String> {
    let entries = fs::read_dir(test.path(folder)).unwrap();
    let digest = |path: &Path| sha256_hex(&fs::read(path).unwrap());
    entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_file())
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                digest(&entry.path()),
            )
        })
        .collect()
}

#[test]
fn the_reports_are_those_that_were_reviewed() {
    let test = CliTest::new();
    test.succeed("--results results --out reports");
    for name in [
        "final_validation",
        "validation_report",
        "power_validation",
        "export_report",
        "ablations",
    ] {
        insta::assert_snapshot!(name, test.read(&format!("reports/{name}.md")));
    }
}

#[test]
fn the_pictures_are_those_that_were_reviewed() {
    let test = CliTest::new();
    test.succeed("--results results --out reports");
    let pictures: Vec<String> = digests(&test, "reports")
        .into_iter()
        .filter(|(name, _)| {
            Path::new(name)
                .extension()
                .is_some_and(|kind| kind == "png")
        })
        .map(|(name, digest)| format!("{digest} {name}"))
        .collect();
    insta::assert_snapshot!("pictures", pictures.join("\n"));
}

#[test]
fn a_second_run_gives_the_same_bytes_and_writes_nothing() {
    let (one, two) = (CliTest::new(), CliTest::new());
    one.succeed("--results results --out reports");
    two.succeed("--out reports");
    assert_eq!(digests(&one, "reports"), digests(&two, "reports"));
    let again = one.run("--results results --out reports");
    let message = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(message.contains("0 of them new or changed"), "{message}");
}

#[test]
fn every_link_and_every_picture_of_the_reports_is_there() {
    let test = CliTest::new();
    // Pages and scripts that the repository has, and the fixtures have not.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    test.succeed("--results results --out reports");
    for name in [
        "final_validation",
        "validation_report",
        "power_validation",
        "export_report",
        "ablations",
    ] {
        let text = test.read(&format!("reports/{name}.md"));
        for piece in text.split("](").skip(1) {
            let target = piece.split(')').next().unwrap();
            let file = target.split('#').next().unwrap();
            let file = format!("reports/{file}");
            assert!(
                test.path(&file).exists() || root.join(&file).exists(),
                "{name}: {target}"
            );
        }
    }
}

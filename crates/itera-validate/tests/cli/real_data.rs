//! The official WikiText-2 test split, if `ITERA_DATA_DIR` leads to it.

use std::{env, path::PathBuf};

use crate::fixture::{CliTest, skip};

#[test]
fn wikitext2_has_the_words_of_the_literature() {
    let data = env::var_os("ITERA_DATA_DIR").map(PathBuf::from);
    let Some(data) = data.filter(|data| data.join("wikitext-2/test.txt").exists()) else {
        skip("no wikitext-2/test.txt under ITERA_DATA_DIR");
        return;
    };
    let data = data.canonicalize().unwrap();
    let test = CliTest::new();
    let mut command = test.command("--checkpoint small --dataset wikitext2 --json");
    let run = command.env("ITERA_DATA_DIR", data).output().unwrap();
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let record: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    let row = &record["rows"][0];
    assert_eq!(row["words"], 245_569);
    assert_eq!(row["bytes"], 1_256_449);
    assert_eq!(row["bytes_scored_fraction"], 1.0);
    assert_eq!(row["documents"], 60);
    assert_eq!(
        row["dataset_verdict"],
        "official WikiText-2 v1 test split, by its digest"
    );
}

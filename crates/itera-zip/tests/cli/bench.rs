//! The record of sizes and speed.

use itera_record::{Record as _, ZipRecord};
use itera_testing::STORIES;

use crate::fixture::CliTest;

#[test]
fn a_bench_has_files_and_messages() {
    let test = CliTest::new();
    test.write("messages.txt", "Hello!\n\nThe cat sat.\n");
    let arguments = "bench --checkpoint small --precision int8 --dataset stories.txt --messages messages.txt --output x.json";
    let table = String::from_utf8(test.run(arguments, b"").stdout).unwrap();
    assert_eq!(
        table.lines().filter(|line| line.contains("small")).count(),
        2,
        "{table}"
    );
    let record = ZipRecord::from_json(&test.read("x.json")).unwrap();
    let [file, messages] = record.rows.as_slice() else {
        panic!("two rows");
    };
    assert_eq!([file.bytes, file.documents], [STORIES.len() as u64, 5]);
    assert_eq!([messages.bytes, messages.documents], [18, 2]);
    assert!(file.ends_bytes > 0.0 && file.zstd_bytes > 100 && messages.characters.is_some());
}

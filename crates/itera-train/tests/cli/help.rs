//! What `--help` says.

use crate::fixture::{CliTest, assert_snapshot};

#[test]
fn help() {
    assert_snapshot!(CliTest::new().command("--help"));
}

#[test]
fn help_fit() {
    assert_snapshot!(CliTest::new().command("fit --help"));
}

#[test]
fn help_tokenizer() {
    assert_snapshot!(CliTest::new().command("tokenizer --help"));
}

#[test]
fn help_sample() {
    assert_snapshot!(CliTest::new().command("sample --help"));
}

//! Every bad input ends with exit status 2 and one message that says what to do.

use itera_testing::snapshot;
use std::net::TcpListener;

use crate::fixture::CliTest;

#[test]
fn a_public_address_needs_a_token() {
    let test = CliTest::new();
    snapshot!(test, "--host 0.0.0.0", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--host 0.0.0.0` is reached from other machines, and without a token anybody there could change the model; give `--token TOKEN` (or ITERA_TOKEN) or `--keys FILE`, or listen on 127.0.0.1
    ");
}

#[test]
fn values_out_of_range() {
    let test = CliTest::new();
    snapshot!(test, "--slots 0", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: invalid value '0' for '--slots <N>': 0 is not in 1..=1024

    For more information, try '--help'.
    ");
    snapshot!(test, "--token short", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: the token of `--token` has fewer than 16 characters, or others than ASCII letters, digits and signs; give a random one, for example of `openssl rand -hex 16`
    ");
    snapshot!(test, "--cors-origin example.org", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--cors-origin example.org` is no origin, expected `https://HOST` or `http://HOST:PORT` without a path
    ");
}

#[test]
fn keys_that_cannot_be_read() {
    let test = CliTest::new();
    test.write(
        "keys.json",
        "{\"keys\": [{\"name\": \"web\", \"sha256\": \"1\", \"roles\": [\"infer\"]}]}",
    );
    snapshot!(test, "--keys keys.json", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: in `keys.json`: `sha256` of the key `web` is not 64 hexadecimal digits; make them with `printf %s KEY | sha256sum`
    ");
    snapshot!(test, "--token-file missing", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot read `missing`: No such file or directory (os error 2)
    ");
    snapshot!(test, "--database :memory:", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--database :memory:` would be gone with the server; give `none` to store nothing, or a file
    ");
}

#[test]
fn an_unknown_checkpoint() {
    let test = CliTest::new();
    snapshot!(test, "--checkpoint nothing", @r#"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: no checkpoint is called "nothing"; looked for [PLACES]; models that exist: [MODELS]; give one of these, a path, or set ITERA_MODELS_DIR
    "#);
}

#[test]
fn a_broken_checkpoint() {
    let test = CliTest::new();
    test.write("broken.safetensors", "no checkpoint");
    snapshot!(test, "--checkpoint broken.safetensors", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot load the checkpoint `broken.safetensors`: the header is declared 7738140083766718318 bytes long, but 5 bytes follow: the file is cut off or not a safetensors file
    ");
}

#[test]
fn a_database_that_cannot_be_used() {
    let test = CliTest::new();
    test.write(
        "text.db",
        "this is a text and no database, which is long enough to have a header",
    );
    snapshot!(test, "--database text.db", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot use the database `text.db`; give a file that can be written with --database: error returned from database: (code: 26) file is not a database
    ");
    snapshot!(test, "--database missing/folder/serve.db", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot use the database `missing/folder/serve.db`; give a file that can be written with --database: No such file or directory (os error 2)
    ");
}

#[test]
fn a_password_is_never_shown() {
    let test = CliTest::new();
    let run = test.run("--database postgres://user:geheim@127.0.0.1:1/none");
    let message = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(2), "{message}");
    assert!(
        message.contains("postgres://...@127.0.0.1:1/none"),
        "{message}"
    );
    assert!(!message.contains("geheim"), "{message}");
    let help = test
        .command("--help")
        .env("ITERA_TOKEN", "geheim-geheim")
        .output()
        .unwrap();
    assert!(!String::from_utf8(help.stdout).unwrap().contains("geheim"));
}

#[test]
fn a_port_that_is_taken() {
    let test = CliTest::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut settings = test.settings();
    settings.add_filter(&port.to_string(), "[PORT]");
    settings.bind(|| {
        insta_cmd::assert_cmd_snapshot!(test.command(&format!("--port {port} --role off")), @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot listen on 127.0.0.1:[PORT]; give a free port with --port, or 0 for any: Address already in use (os error 98)
    ");
    });
}

#[cfg(feature = "adapt")]
#[test]
fn settings_of_the_adaptation() {
    let test = CliTest::new();
    snapshot!(test, "--adapt-settings {\"stepps\":1}", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--adapt-settings` is not a JSON object of settings: unknown field `stepps`, expected one of `learning_rate`, `min_learning_rate`, `max_learning_rate`, `steps`, `batch`, `length`, `kl_weight`, `unlikelihood_weight`, `replay_weight`, `max_guard_rise`, `max_probe_factor`, `quantize`, `seed`, `replicas`, `optimizer` at line 1 column 9
    ");
    snapshot!(test, "--adapt-settings {\"steps\":0}", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: in `--adapt-settings`: `steps` is 0, expected 1 to 100000
    ");
    snapshot!(test, "--guard nothing.txt", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot read the text nothing.txt: there is no file `nothing.txt`, and no data set of that name; names are wikitext2, tinystories, tinystories-head, tinystories-dev, tinystories-v2, wikitext2-raw, wikitext103, enwik8, text8, lambada, sample, sample-wikitext2, sample-tinystories
    ");
}

#[cfg(feature = "adapt")]
#[test]
fn probes_that_are_none() {
    let test = CliTest::new();
    test.write("empty.txt", "\n \n");
    test.write("half.txt", "a text\na prompt\t\n");
    snapshot!(test, "--adapt-probes empty.txt", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `empty.txt` of `--adapt-probes` has no text; give one a line
    ");
    snapshot!(test, "--adapt-probes half.txt", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `half.txt`, line 2, has a prompt and no text behind its tab
    ");
    snapshot!(test, "--adapt-probes missing.txt", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot read `missing.txt` of `--adapt-probes` as UTF-8: No such file or directory (os error 2)
    ");
}

#[test]
fn every_option_has_a_variable() {
    let test = CliTest::new();
    let help = String::from_utf8(test.run("--help").stdout).unwrap();
    let options = help
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("--"));
    let mut found = 0;
    for option in options {
        let name = option
            .split([' ', '='])
            .next()
            .unwrap()
            .trim_start_matches("--");
        let variable = format!("[env: ITERA_{}", name.replace('-', "_").to_uppercase());
        assert!(help.contains(&variable), "{name} has no {variable}");
        found += 1;
    }
    assert!(found >= 28, "only {found} options");
}

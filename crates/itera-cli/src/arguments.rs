//! The command line as typed.

use std::{env, ffi::OsString};

use clap::{Parser, error::ErrorKind};

/// Parses the command line. What cannot be parsed ends the process with a message and status 2, a
/// request for help with status 0.
pub fn parse<A: Parser>() -> A {
    A::try_parse().unwrap_or_else(|error| {
        if error.kind() == ErrorKind::InvalidUtf8 {
            let message = not_utf8(env::args_os().skip(1));
            A::command().error(ErrorKind::InvalidUtf8, message).exit()
        }
        error.exit()
    })
}

/// Which arguments are not UTF-8, each with the option before it.
fn not_utf8(arguments: impl Iterator<Item = OsString>) -> String {
    let mut found = Vec::new();
    let mut before = None;
    for argument in arguments {
        if argument.to_str().is_none() {
            let shown = argument.to_string_lossy();
            found.push(match &before {
                Some(option) => format!("`{option} {shown}`"),
                None => format!("`{shown}`"),
            });
        }
        before = argument
            .into_string()
            .ok()
            .filter(|text| text.starts_with('-'));
    }
    let found = found.join(", ");
    format!("{found} is not UTF-8; rename the file, or give it by another path")
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn arguments_that_are_not_utf8_are_named_with_their_options() {
        let words: [&[u8]; 5] = [
            b"fit",
            b"--dataset",
            b"caf\xe9.txt",
            b"--init=\xff",
            b"--quiet",
        ];
        let message = not_utf8(words.iter().map(|word| OsString::from_vec(word.to_vec())));
        assert_eq!(
            message,
            "`--dataset caf\u{fffd}.txt`, `--init=\u{fffd}` is not UTF-8; rename the file, or give it by \
             another path"
        );
    }
}

//! Files that are not plain text, recognised by their first bytes.

use serde::de::IgnoredAny;

use crate::first_invalid_utf8;

/// First bytes, name and remedy of formats that hold text in another form.
const FORMATS: [(&[u8], &str, &str); 7] = [
    (b"\x1f\x8b", "gzip data", "unpack it with `gunzip`"),
    (b"\x28\xb5\x2f\xfd", "zstd data", "unpack it with `unzstd`"),
    (b"\xfd7zXZ\0", "xz data", "unpack it with `unxz`"),
    (b"BZh91AY&SY", "bzip2 data", "unpack it with `bunzip2`"),
    (b"PK\x03\x04", "a zip archive", "unpack it with `unzip`"),
    (b"\xff\xfe", UTF_16, RECODE),
    (b"\xfe\xff", UTF_16, RECODE),
];

const UTF_16: &str = "UTF-16";
const RECODE: &str = "convert it with `iconv -f UTF-16 -t UTF-8`";

/// First bytes that are looked at where no magic number decides.
const SAMPLE: usize = 1024;

/// What `bytes`, the beginning of a file, are instead of text, and what to do about it.
pub(crate) fn of_other_than_text(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let known = FORMATS.iter().find(|(magic, ..)| bytes.starts_with(magic));
    if let Some((_, name, remedy)) = known {
        return Some((name, remedy));
    }
    let sample = &bytes[..bytes.len().min(SAMPLE)];
    // A text may begin with these letters; page headers are not valid UTF-8.
    if sample.starts_with(b"PAR1") && first_invalid_utf8(sample).is_some() {
        return Some((
            "a Parquet file",
            "write its texts to a text file, with a line `<|endoftext|>` between documents",
        ));
    }
    if is_utf16(sample) {
        return Some((UTF_16, RECODE));
    }
    is_json_line(bytes).then_some((
        "JSON lines",
        "write its texts to a text file: `jq -r '.text, \"<|endoftext|>\"'`",
    ))
}

/// Whether every other byte is 0, as in UTF-16 of most languages of Europe.
fn is_utf16(sample: &[u8]) -> bool {
    let zeros = |first| {
        sample[first..]
            .iter()
            .step_by(2)
            .filter(|byte| **byte == 0)
            .count()
    };
    let half = sample.len() / 2;
    let few = half / 10;
    sample.len() >= 4
        && ((zeros(0) <= few && zeros(1) >= half - few)
            || (zeros(1) <= few && zeros(0) >= half - few))
}

/// Whether the first line is a JSON object.
fn is_json_line(bytes: &[u8]) -> bool {
    let line = bytes.split(|&byte| byte == b'\n').next();
    line.map(<[u8]>::trim_ascii)
        .filter(|line| line.starts_with(b"{"))
        .is_some_and(|line| serde_json::from_slice::<IgnoredAny>(line).is_ok())
}

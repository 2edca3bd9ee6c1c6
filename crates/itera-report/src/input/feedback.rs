//! The feedback log of `itera-serve`: JSON lines, one for each answer that somebody rated.

use serde::Deserialize;

/// What the log amounts to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FeedbackLog {
    pub(crate) records: u64,
    /// Ratings of 1 to 5; how often each was given.
    pub(crate) ratings: [u64; 5],
    /// Records that bring a corrected answer.
    pub(crate) corrections: u64,
}

impl FeedbackLog {
    /// The name of its form, which has no field for it.
    pub(super) const SCHEMA: &str = "feedback log (.jsonl)";
}

#[derive(Deserialize)]
struct Line {
    user_rating: Option<u64>,
    correction: Option<String>,
}

/// Reads a log; the message names the first line that is none.
pub(super) fn read(bytes: &[u8]) -> Result<FeedbackLog, String> {
    let mut log = FeedbackLog::default();
    for (i, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_slice(line)
            .map_err(|error| format!("line {} is no feedback: {error}", i + 1))?;
        log.records += 1;
        log.corrections += u64::from(line.correction.is_some());
        match line.user_rating {
            None => {}
            Some(rating @ 1..=5) => log.ratings[rating as usize - 1] += 1,
            Some(rating) => {
                return Err(format!(
                    "line {}: `user_rating` is {rating}, expected 1 to 5",
                    i + 1
                ));
            }
        }
    }
    if log.records == 0 {
        return Err("it has no feedback".to_owned());
    }
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratings_are_counted_and_bad_lines_named() {
        let text = b"{\"user_rating\": 5}\n\n{\"user_rating\": 1, \"correction\": \"x\"}\n{}\n";
        let log = read(text).unwrap();
        assert_eq!((log.records, log.corrections), (3, 1));
        assert_eq!(log.ratings, [1, 0, 0, 0, 1]);
        assert!(
            read(b"{}\nx")
                .unwrap_err()
                .starts_with("line 2 is no feedback")
        );
        assert!(
            read(b"{\"user_rating\": 6}")
                .unwrap_err()
                .contains("expected 1 to 5")
        );
        assert!(read(b"\n").is_err());
    }
}

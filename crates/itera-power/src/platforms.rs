//! Platforms: `data/platforms.csv`, or a file of the user's in the same form.

use std::{fs, io, path::Path};

use csv::{ReaderBuilder, StringRecord, Trim};
use itera_record::PowerPlatform;
use serde::Deserialize;
use thiserror::Error;

/// The table that is compiled in, so that an installed tool needs no file.
const BUILT_IN: &str = include_str!("../../../data/platforms.csv");

/// What the table is called in messages.
const BUILT_IN_NAME: &str = "data/platforms.csv";

/// Name of the machine that measures as a platform.
pub(crate) const THIS_MACHINE: &str = "this-machine";

/// Platforms of a run that names none.
pub(crate) const DEFAULT: [&str; 3] = ["desktop", "laptop", "embedded"];

/// More than any single computer draws: a value above is a slip of the unit.
const MAX_WATTS: f64 = 10_000.0;

/// More cores than any computer has.
const MAX_CORES: u64 = 4096;

/// Speeds further apart than this are a slip of the unit too.
const MAX_RELATIVE_SPEED: f64 = 10_000.0;

/// Why platforms cannot be had. Lines count from 1.
#[derive(Debug, Error)]
pub(crate) enum PlatformError {
    #[error("cannot read the platforms `{path}`: {source}; give a CSV file like {BUILT_IN_NAME}")]
    Read { path: String, source: io::Error },
    #[error("`{path}`, line {line}: {message}; the columns are those of {BUILT_IN_NAME}")]
    Form {
        path: String,
        line: u64,
        message: String,
    },
    #[error("`{path}`, line {line}: {field} is {found}, expected {expected}")]
    Value {
        path: String,
        line: u64,
        field: &'static str,
        found: String,
        expected: String,
    },
    #[error(
        "`{path}`, line {line}: the name `{name}` stands in line {first} already; give another"
    )]
    Duplicate {
        path: String,
        line: u64,
        name: String,
        first: u64,
    },
    #[error("`{path}` has no platform; add a row like those of {BUILT_IN_NAME}")]
    Empty { path: String },
    #[error("no platform is called `{name}`; `{path}` has {known}")]
    Unknown {
        path: String,
        name: String,
        known: String,
    },
}

/// A row as written.
#[derive(Deserialize)]
struct Row {
    name: String,
    kind: String,
    cores: u64,
    tdp_watts: f64,
    #[serde(default)]
    idle_share: Option<f64>,
    #[serde(default)]
    idle_watts: Option<f64>,
    #[serde(default)]
    relative_speed: Option<f64>,
    source: String,
    date: String,
}

/// The platforms called `names`. Without a file they come from the built-in table; without names
/// they are the default ones of that, or all of the file's.
pub(crate) fn load(
    file: Option<&Path>,
    names: &[String],
) -> Result<Vec<PowerPlatform>, PlatformError> {
    let (path, table) = match file {
        None => (
            BUILT_IN_NAME.to_owned(),
            parse(BUILT_IN_NAME, BUILT_IN.as_bytes())?,
        ),
        Some(file) => {
            let path = file.display().to_string();
            let read = |source| PlatformError::Read {
                path: path.clone(),
                source,
            };
            let table = parse(&path, &fs::read(file).map_err(read)?)?;
            (path, table)
        }
    };
    match (names, file) {
        ([], Some(_)) => Ok(table),
        ([], None) => choose(&path, &table, &DEFAULT),
        (names, _) => choose(&path, &table, names),
    }
}

/// The platforms of these names, each once, in the order of the names.
fn choose<S: AsRef<str>>(
    path: &str,
    table: &[PowerPlatform],
    names: &[S],
) -> Result<Vec<PowerPlatform>, PlatformError> {
    let mut chosen: Vec<PowerPlatform> = Vec::new();
    for name in names {
        let name = name.as_ref();
        let Some(platform) = table.iter().find(|platform| platform.name == name) else {
            let known: Vec<_> = table
                .iter()
                .map(|platform| platform.name.as_str())
                .collect();
            return Err(PlatformError::Unknown {
                path: path.to_owned(),
                name: name.to_owned(),
                known: known.join(", "),
            });
        };
        if !chosen.contains(platform) {
            chosen.push(platform.clone());
        }
    }
    Ok(chosen)
}

/// The platforms of a table; `path` is what messages call it. A row is a line, so that messages can name
/// it: the CSV reader itself counts comments and empty lines to the row that follows.
fn parse(path: &str, bytes: &[u8]) -> Result<Vec<PowerPlatform>, PlatformError> {
    let form = |line: u64, message: String| PlatformError::Form {
        path: path.to_owned(),
        line,
        message,
    };
    let text = str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()]
            .split(|byte| *byte == b'\n')
            .count();
        form(line as u64, "not valid UTF-8".to_owned())
    })?;
    // A mark that some editors put before the first line.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let numbered = (1..).zip(text.lines());
    let mut rows = numbered.filter(|(_, text)| !text.trim().is_empty() && !text.starts_with('#'));
    let Some((line, header)) = rows.next() else {
        return Err(PlatformError::Empty {
            path: path.to_owned(),
        });
    };
    let header = fields(header).map_err(|error| form(line, said(&error)))?;
    if let Some(missing) = missing_column(&header) {
        return Err(form(line, format!("there is no column {missing}")));
    }
    let mut platforms: Vec<(u64, PowerPlatform)> = Vec::new();
    for (line, text) in rows {
        let record = fields(text).map_err(|error| form(line, said(&error)))?;
        if record.len() != header.len() {
            return Err(form(
                line,
                format!("{} fields, expected {}", record.len(), header.len()),
            ));
        }
        let row = record
            .deserialize(Some(&header))
            .map_err(|error| form(line, said(&error)))?;
        let platform = Checker { path, line }.platform(row)?;
        if let Some((first, _)) = platforms
            .iter()
            .find(|(_, other)| other.name == platform.name)
        {
            return Err(PlatformError::Duplicate {
                path: path.to_owned(),
                line,
                name: platform.name,
                first: *first,
            });
        }
        platforms.push((line, platform));
    }
    if platforms.is_empty() {
        return Err(PlatformError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(platforms
        .into_iter()
        .map(|(_, platform)| platform)
        .collect())
}

/// A column that a table cannot do without and that this one lacks.
fn missing_column(header: &StringRecord) -> Option<&'static str> {
    let has = |column: &str| header.iter().any(|name| name == column);
    let required = ["name", "kind", "cores", "tdp_watts", "source", "date"];
    let missing = required.into_iter().find(|column| !has(column));
    missing.or_else(|| {
        (!has("idle_share") && !has("idle_watts")).then_some("idle_share or idle_watts")
    })
}

/// The fields of one line.
fn fields(line: &str) -> Result<StringRecord, csv::Error> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .trim(Trim::All)
        .from_reader(line.as_bytes());
    let mut record = StringRecord::new();
    reader.read_record(&mut record)?;
    Ok(record)
}

/// What is wrong with a row's form, without the position that is said before it.
fn said(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => match err.field() {
            Some(field) => format!("column {}: {}", field + 1, err.kind()),
            None => err.kind().to_string(),
        },
        _ => error.to_string(),
    }
}

/// Says where a value stands.
struct Checker<'a> {
    path: &'a str,
    line: u64,
}

impl Checker<'_> {
    fn platform(&self, row: Row) -> Result<PowerPlatform, PlatformError> {
        let name_holds = !row.name.is_empty()
            && row
                .name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        self.ensure(
            name_holds,
            "name",
            &format!("`{}`", row.name),
            "letters, digits and -_.",
        )?;
        self.ensure(
            (1..=MAX_CORES).contains(&row.cores),
            "cores",
            &row.cores,
            &format!("1 to {MAX_CORES}"),
        )?;
        self.ensure(
            row.tdp_watts > 0.0 && row.tdp_watts <= MAX_WATTS,
            "tdp_watts",
            &row.tdp_watts,
            &format!("above 0 and at most {MAX_WATTS}"),
        )?;
        let idle_watts = self.idle_watts(&row)?;
        if let Some(speed) = row.relative_speed {
            self.ensure(
                (1.0 / MAX_RELATIVE_SPEED..=MAX_RELATIVE_SPEED).contains(&speed),
                "relative_speed",
                &speed,
                &format!("1/{MAX_RELATIVE_SPEED} to {MAX_RELATIVE_SPEED}, or nothing"),
            )?;
        }
        self.ensure(
            !row.source.is_empty(),
            "source",
            &"empty",
            "where the powers come from",
        )?;
        self.ensure(
            is_date(&row.date),
            "date",
            &format!("`{}`", row.date),
            "YYYY-MM-DD or a part",
        )?;
        Ok(PowerPlatform {
            name: row.name,
            description: row.kind,
            cores: row.cores,
            tdp_watts: row.tdp_watts,
            idle_watts,
            relative_speed: row.relative_speed,
            source: row.source,
            date: row.date,
        })
    }

    /// Power at rest from the share or the watts, whichever is given.
    fn idle_watts(&self, row: &Row) -> Result<f64, PlatformError> {
        match (row.idle_share, row.idle_watts) {
            (Some(share), None) => {
                self.ensure(
                    (0.0..=1.0).contains(&share),
                    "idle_share",
                    &share,
                    "0 to 1: a share of tdp_watts",
                )?;
                Ok(share * row.tdp_watts)
            }
            (None, Some(watts)) => {
                let expected = format!("0 to tdp_watts, {}", row.tdp_watts);
                self.ensure(
                    (0.0..=row.tdp_watts).contains(&watts),
                    "idle_watts",
                    &watts,
                    &expected,
                )?;
                Ok(watts)
            }
            (share, _) => {
                let found = if share.is_some() {
                    "given beside idle_watts"
                } else {
                    "empty"
                };
                self.ensure(
                    false,
                    "idle_share",
                    &found,
                    "either idle_share or idle_watts",
                )?;
                Ok(0.0)
            }
        }
    }

    fn ensure(
        &self,
        holds: bool,
        field: &'static str,
        found: &dyn ToString,
        expected: &str,
    ) -> Result<(), PlatformError> {
        if holds {
            return Ok(());
        }
        Err(PlatformError::Value {
            path: self.path.to_owned(),
            line: self.line,
            field,
            found: found.to_string(),
            expected: expected.to_owned(),
        })
    }
}

/// Year, year and month, or a whole date, all in digits.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let digits = |part: &str, len| part.len() == len && part.bytes().all(|b| b.is_ascii_digit());
    let number = |part: &str| part.parse::<u32>().unwrap_or(0);
    match parts[..] {
        [year] => digits(year, 4),
        [year, month] => digits(year, 4) && digits(month, 2) && (1..=12).contains(&number(month)),
        [year, month, day] => {
            is_date(&format!("{year}-{month}")) && digits(day, 2) && (1..=31).contains(&number(day))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "name,kind,cores,tdp_watts,idle_share,idle_watts,relative_speed,source,date\n";

    fn refusal(rows: &str) -> String {
        parse("my.csv", format!("{HEADER}{rows}").as_bytes())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_built_in_table_has_the_documented_platforms() {
        let platforms = load(None, &[]).unwrap();
        let powers: Vec<_> = platforms
            .iter()
            .map(|p| (p.name.as_str(), p.tdp_watts, p.idle_watts))
            .collect();
        assert_eq!(
            powers,
            [
                ("desktop", 65.0, 13.0),
                ("laptop", 15.0, 3.0),
                ("embedded", 5.0, 1.0)
            ]
        );
        let pi = &load(None, &["raspberry-pi-4".to_owned()]).unwrap()[0];
        assert_eq!((pi.tdp_watts, pi.idle_watts), (6.3, 3.0));
    }

    #[test]
    fn names_choose_and_unknown_ones_are_refused_with_the_known() {
        let names = ["laptop", "laptop", "desktop"].map(str::to_owned);
        let platforms = load(None, &names).unwrap();
        assert_eq!(platforms.len(), 2);
        assert_eq!(platforms[0].name, "laptop");
        let error = load(None, &["phone".to_owned()]).unwrap_err().to_string();
        assert!(error.starts_with(
            "no platform is called `phone`; `data/platforms.csv` has desktop, laptop"
        ));
    }

    #[test]
    fn a_table_of_ones_own_needs_no_optional_column() {
        let table = "name,kind,cores,tdp_watts,idle_share,source,date\nmine,a board,4,10,0.25,a meter,2026\n";
        let platforms = parse("my.csv", table.as_bytes()).unwrap();
        assert_eq!(
            (platforms[0].idle_watts, platforms[0].relative_speed),
            (2.5, None)
        );
        let table = format!("{HEADER}mine,a board,4,10,,2,0.5,a meter,2026-01\n");
        let platforms = parse("my.csv", table.as_bytes()).unwrap();
        assert_eq!(
            (platforms[0].idle_watts, platforms[0].relative_speed),
            (2.0, Some(0.5))
        );
    }

    #[test]
    fn bad_rows_are_refused_with_file_and_line() {
        let good = "a,b,4,10,0.2,,,s,2026\n";
        for (rows, message) in [
            (
                "a,b,4,10,1.2,,,s,2026\n",
                "`my.csv`, line 2: idle_share is 1.2, expected 0 to 1",
            ),
            (
                "a,b,4,10,,11,,s,2026\n",
                "line 2: idle_watts is 11, expected 0 to tdp_watts, 10",
            ),
            ("a,b,4,10,-0.1,,,s,2026\n", "line 2: idle_share is -0.1"),
            ("a,b,4,-10,0.2,,,s,2026\n", "line 2: tdp_watts is -10"),
            ("a,b,4,0,0.2,,,s,2026\n", "line 2: tdp_watts is 0"),
            (
                "a,b,4,65000,0.2,,,s,2026\n",
                "line 2: tdp_watts is 65000, expected above 0 and at most 10000",
            ),
            ("a,b,4,NaN,0.2,,,s,2026\n", "line 2: tdp_watts is NaN"),
            ("a,b,4,10,NaN,,,s,2026\n", "line 2: idle_share is NaN"),
            ("a,b,4,inf,0.2,,,s,2026\n", "line 2: tdp_watts is inf"),
            (
                "a,b,4,ten,0.2,,,s,2026\n",
                "line 2: column 4: invalid float literal",
            ),
            (
                "a,b,4,10,0.2,2,,s,2026\n",
                "line 2: idle_share is given beside idle_watts",
            ),
            ("a,b,4,10,,,,s,2026\n", "line 2: idle_share is empty"),
            ("a,b,4,10,0.2,,0,s,2026\n", "line 2: relative_speed is 0"),
            ("a,b,4,10,0.2,,,,2026\n", "line 2: source is empty"),
            ("a,b,4,10,0.2,,,s,soon\n", "line 2: date is `soon`"),
            ("a,b,4,10,0.2,,,s,2026-13\n", "line 2: date is `2026-13`"),
            (",b,4,10,0.2,,,s,2026\n", "line 2: name is ``"),
            ("a,b,10\n", "line 2: 3 fields, expected 9"),
            (
                "a,b,0,10,0.2,,,s,2026\n",
                "line 2: cores is 0, expected 1 to 4096",
            ),
            ("a,b,,10,0.2,,,s,2026\n", "line 2: column 3: "),
            ("", "`my.csv` has no platform"),
        ] {
            let error = refusal(rows);
            assert!(error.contains(message), "{rows}: {error}");
        }
        let error = refusal(&format!(
            "# a comment\n{good}\nx,b,4,5,0.2,,,s,2026\n{good}"
        ));
        assert!(
            error.contains("line 6: the name `a` stands in line 3 already"),
            "{error}"
        );
        let bytes = [HEADER.as_bytes(), b"a,caf\xe9,4,10,0.2,,,s,2026\n"].concat();
        let error = parse("my.csv", &bytes).unwrap_err().to_string();
        assert!(error.contains("line 2: not valid UTF-8"), "{error}");
        let error = parse("my.csv", b"name,watts\n").unwrap_err().to_string();
        assert!(error.contains("line 1: there is no column kind"), "{error}");
        let missing = "name,kind,cores,tdp_watts,source,date\na,b,4,10,s,2026\n";
        let error = parse("my.csv", missing.as_bytes()).unwrap_err().to_string();
        assert!(
            error.contains("line 1: there is no column idle_share or idle_watts"),
            "{error}"
        );
    }

    #[test]
    fn a_byte_order_mark_may_stand_before_the_table() {
        let table = format!("\u{feff}# a comment\n{HEADER}mine,a board,4,10,,2,,a meter,2026\n");
        assert_eq!(parse("my.csv", table.as_bytes()).unwrap().len(), 1);
    }
}

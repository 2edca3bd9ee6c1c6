//! Where a text comes from and where it goes.

use std::{
    fmt,
    fs::File,
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use itera_cli::Files;
use itera_core::files::AtomicFile;

/// The ending of a compressed file.
const ENDING: &str = "itz";

/// A file, or a standard stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Standard,
    File(PathBuf),
}

/// Input and output of a command, found out to be different files.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Paths {
    pub(crate) input: Place,
    pub(crate) output: Place,
}

impl Place {
    fn of(name: &str) -> Self {
        match name {
            "-" => Self::Standard,
            name => Self::File(name.into()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard => f.write_str("standard input"),
            Self::File(path) => write!(f, "`{}`", path.display()),
        }
    }
}

impl Paths {
    /// Those of `compress`: the output is INPUT.itz unless it is given.
    pub(crate) fn of_compress(input: &str, output: Option<&str>) -> anyhow::Result<Self> {
        Self::new(input, output, |path| {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{ENDING}"));
            Ok(name.into())
        })
    }

    /// Those of `restore`: the output is INPUT without .itz unless it is given.
    pub(crate) fn of_restore(input: &str, output: Option<&str>) -> anyhow::Result<Self> {
        Self::new(input, output, |path| {
            let is_named = path.extension().is_some_and(|ending| ending == ENDING);
            ensure!(
                is_named,
                "`{}` does not end with .{ENDING}; name the file to write with `--output`",
                path.display()
            );
            Ok(path.with_extension(""))
        })
    }

    /// Those of a message, which goes to standard output unless a file is given.
    pub(crate) fn of_message(input: &str, output: Option<&str>) -> anyhow::Result<Self> {
        Self::new(input, Some(output.unwrap_or("-")), |_| {
            bail!("an output is always given")
        })
    }

    fn new(
        input: &str,
        output: Option<&str>,
        beside: impl Fn(&Path) -> anyhow::Result<PathBuf>,
    ) -> anyhow::Result<Self> {
        let input = Place::of(input);
        let output = match (&input, output) {
            (_, Some(name)) => Place::of(name),
            (Place::Standard, None) => Place::Standard,
            (Place::File(path), None) => {
                let output = beside(path)?;
                ensure!(
                    !output.exists(),
                    "`{}` is there already; remove it, or name the file to write with `--output`",
                    output.display()
                );
                Place::File(output)
            }
        };
        let mut files = Files::default();
        if let Place::File(path) = &input {
            files = files.read("the input", path);
        }
        if let Place::File(path) = &output {
            files = files.write("`--output`", path);
        }
        files.check()?;
        Ok(Self { input, output })
    }
}

/// A stream of bytes.
pub(crate) struct Input {
    from: Box<dyn Read + Send>,
    /// How many they are; 0 where that is not known.
    pub(crate) bytes: u64,
}

impl Input {
    pub(crate) fn open(place: &Place) -> anyhow::Result<Self> {
        let Place::File(path) = place else {
            return Ok(Self {
                from: Box::new(BufReader::new(io::stdin())),
                bytes: 0,
            });
        };
        let file = File::open(path).with_context(|| format!("cannot read {place}"))?;
        let metadata = file
            .metadata()
            .with_context(|| format!("cannot read {place}"))?;
        ensure!(
            !metadata.is_dir(),
            "{place} is a folder; give a file, for example an archive of it"
        );
        Ok(Self {
            from: Box::new(BufReader::new(file)),
            bytes: metadata.len(),
        })
    }
}

impl Read for Input {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.from.read(to)
    }
}

/// What is written: a file that is there whole or not at all, or standard output.
pub(crate) enum Output {
    Standard(io::Stdout),
    File(AtomicFile),
}

impl Output {
    pub(crate) fn create(place: &Place) -> anyhow::Result<Self> {
        Ok(match place {
            Place::Standard => Self::Standard(io::stdout()),
            Place::File(path) => Self::File(AtomicFile::create(path)?),
        })
    }

    pub(crate) fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Standard(mut stdout) => stdout.flush().context("cannot write to standard output"),
            Self::File(file) => Ok(file.finish()?),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Standard(stdout) => stdout.write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Standard(stdout) => stdout.flush(),
            Self::File(file) => file.flush(),
        }
    }
}

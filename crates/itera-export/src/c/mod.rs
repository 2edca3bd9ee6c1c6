//! The command `c`: a checkpoint as C99 for controllers, one header and one source.
//!
//! | file | what |
//! |---|---|
//! | `model.h`, `model.c` | the engine in C; `itera_` becomes the name of the model |
//! | `bytes.c`, `char.c`, `bpe.c`, `utf8.c` | its tokenizers |
//! | `sizes` | the sizes in the header |
//! | `weights` | the tensors as constant arrays |
//! | `vocabulary` | the tokenizer and its constants |
//! | `digest` | the digests by which a machine proves that it computes the same |

mod digest;
mod sizes;
mod vocabulary;
mod weights;

use anyhow::{Context as _, bail, ensure};
use itera_cli::{Align, ExitStatus, Table, note, print};
use itera_core::{checkpoint::Precision, files::write_atomic, models::LoadedCheckpoint};

use self::{sizes::Memory, vocabulary::Vocabulary, weights::Weights};
use crate::{
    args::{CArgs, CPrecision},
    onnx,
};

const HEADER: &str = include_str!("model.h");
const SOURCE: &str = include_str!("model.c");

/// Characters of a line of generated C.
const WIDTH: usize = 118;

/// The two files.
#[derive(Debug)]
struct Files {
    header: String,
    source: String,
}

/// Bytes that a controller needs, and those of the checkpoint's file, whose integers are packed.
#[derive(Clone, Copy, Debug)]
struct Bytes {
    file: usize,
    weights: usize,
    vocabulary: usize,
    memory: Memory,
}

/// Writes the files and prints how many bytes a controller needs for them.
pub(crate) fn run(args: &CArgs) -> anyhow::Result<ExitStatus> {
    let precision = match args.precision {
        CPrecision::Int8 => Precision::Int8,
        CPrecision::Int4 => Precision::Int4,
    };
    let folder = &args.output;
    ensure!(
        folder.is_dir(),
        "`--output {}` is no folder; make it first, or give another",
        folder.display()
    );
    args.name.as_deref().map_or(Ok(()), check_name)?;
    let loaded = onnx::load(&args.checkpoint, precision)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => loaded.name.replace(['-', '.'], "_"),
    };
    check_name(&name)?;
    let paths = ["h", "c"].map(|extension| folder.join(format!("{name}.{extension}")));
    let [header, source] = &paths;
    onnx::files([&loaded])
        .write("the header in `--output`", header)
        .write("the source in `--output`", source)
        .check()?;
    let (files, bytes) =
        generate(&loaded, &name).with_context(|| format!("cannot write {} as C", loaded.name))?;
    write_atomic(header, files.header.as_bytes())?;
    write_atomic(source, files.source.as_bytes())?;
    print(table(bytes))?;
    for path in paths {
        note(format!("wrote {}", path.display()));
    }
    Ok(ExitStatus::Done)
}

/// Checks that functions, macros and files can be called after `name`.
fn check_name(name: &str) -> anyhow::Result<()> {
    let is_letter = |c: char| c.is_ascii_alphabetic();
    let is_identifier = name.starts_with(is_letter)
        && name
            .chars()
            .all(|c| is_letter(c) || c.is_ascii_digit() || c == '_');
    if !is_identifier {
        bail!(
            "functions cannot be called after {name:?}; give letters, digits and underscores, a letter first, with \
             `--name`"
        );
    }
    Ok(())
}

/// The files of a model that is called `name` there.
fn generate(loaded: &LoadedCheckpoint, name: &str) -> anyhow::Result<(Files, Bytes)> {
    let checkpoint = &loaded.checkpoint;
    let memory = Memory::of(&checkpoint.config);
    let vocabulary = Vocabulary::of(&checkpoint.tokenizer);
    let weights = Weights::of(checkpoint)?;
    let digests = digest::of(checkpoint)?;
    let about = format!(
        "/* {} at {} in C99, written by itera-export {}.\n   SHA-256 of the checkpoint: {}.\n   Compile with \
         -std=c99 -O2 -ffp-contract=off. */\n",
        loaded.name,
        checkpoint.precision(),
        env!("CARGO_PKG_VERSION"),
        loaded.file_sha256
    );
    let sizes = sizes::text(&checkpoint.config, memory, &vocabulary, &digests);
    let called = |template: &str, part: &str| {
        let code = template
            .replace("itera_", &format!("{name}_"))
            .replace("ITERA_", &format!("{}_", name.to_uppercase()))
            .replace("\"itera.h\"", &format!("\"{name}.h\""));
        format!("{part}{code}")
    };
    let source = SOURCE
        .replace("/* TOKENIZER */\n", &vocabulary.code)
        .replace("/* WEIGHTS */\n", &weights.code);
    let files = Files {
        header: called(&HEADER.replace("/* SIZES */\n", &sizes), &about),
        source: called(&source, &about),
    };
    let bytes = Bytes {
        file: loaded.file_bytes,
        weights: weights.bytes,
        vocabulary: vocabulary.bytes,
        memory,
    };
    Ok((files, bytes))
}

/// An array of constants, `declared` for example as `uint8_t values[]`.
fn array(declared: &str, values: impl Iterator<Item = String>) -> String {
    let mut code = format!("static const {declared} = {{");
    let mut column = WIDTH;
    for (at, value) in values.enumerate() {
        let separator = if at == 0 { "" } else { "," };
        code.push_str(separator);
        if column + value.len() + 2 > WIDTH {
            code.push_str("\n   ");
            column = 3;
        }
        code.push(' ');
        code.push_str(&value);
        column += value.len() + 2;
    }
    code.push_str("\n};\n");
    code
}

fn table(bytes: Bytes) -> Table {
    let mut table = Table::new(&[
        ("what", Align::Left),
        ("where", Align::Left),
        ("bytes", Align::Right),
    ]);
    for (what, place, bytes) in [
        ("checkpoint", "file", bytes.file),
        ("weights", "flash", bytes.weights),
        ("tokenizer", "flash", bytes.vocabulary),
        ("state", "RAM", bytes.memory.state),
        ("scratch", "RAM", bytes.memory.scratch),
    ] {
        table.row([what.to_owned(), place.to_owned(), bytes.to_string()]);
    }
    table
}

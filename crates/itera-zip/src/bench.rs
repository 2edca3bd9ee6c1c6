//! Sizes and speed beside those of other compressors, on one thread.

use std::{
    env, fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use itera_cli::{Align, Files, Table, envelope, model_info, note, print};
use itera_core::{digest::sha256_hex, files::write_atomic};
use itera_data::{Corpus, Dataset, Places};
use itera_record::{Record as _, ZipRecord, ZipRow};
use rayon::ThreadPoolBuilder;

use crate::{args::BenchArgs, compressors::Others, file, layout::Divided, message, model::Loaded};

/// The program, as records name it.
const TOOL: &str = "itera-zip";

/// The models of the two official texts.
const CHECKPOINTS: [&str; 2] = ["micro-tinystories", "micro-wikitext2"];

/// Measures, prints and writes the record.
pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let files = Files::default().read("`--messages`", &args.messages);
    files.write("`--output`", &args.output).check()?;
    let pool = ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.context("cannot start a thread")?;
    let record = pool.install(|| measure(args))?;
    print(table(&record.rows))?;
    write_atomic(&args.output, record.to_json()?.as_bytes())?;
    note(format!("wrote `{}`", args.output.display()));
    Ok(())
}

fn measure(args: &BenchArgs) -> anyhow::Result<ZipRecord> {
    let program = env::current_exe().and_then(fs::metadata);
    let program = program.context("cannot find the size of this program")?;
    let named: Vec<&str> = args.checkpoint.iter().map(String::as_str).collect();
    let names = if named.is_empty() {
        CHECKPOINTS.to_vec()
    } else {
        named
    };
    let mut rows = Vec::new();
    for name in names {
        let loaded = Loaded::new(name, args.precision)?;
        note(format!("measuring {name} at {}", args.precision));
        let dataset = match &args.dataset {
            Some(dataset) => dataset.clone(),
            None => own_text(&loaded)?,
        };
        rows.push(of_file(&loaded, &dataset)?);
        rows.push(of_messages(&loaded, &args.messages)?);
    }
    Ok(ZipRecord {
        envelope: envelope::<ZipRecord>(TOOL, None),
        program_bytes: program.len(),
        rows,
    })
}

/// The official text of the kind that a model was trained on.
fn own_text(loaded: &Loaded) -> anyhow::Result<Dataset> {
    let trained_on = loaded.checkpoint.checkpoint.training["dataset"].as_str();
    let name = match trained_on {
        Some("wikitext2") => "wikitext2",
        _ => "tinystories-head",
    };
    Ok(name.parse()?)
}

fn of_file(loaded: &Loaded, dataset: &Dataset) -> anyhow::Result<ZipRow> {
    let corpus = Corpus::load(dataset, None, &Places::of_environment())?;
    let path = corpus.path.as_ref();
    let path =
        path.with_context(|| format!("{dataset} is compiled in; give a file with `--dataset`"))?;
    let text = fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let started = Instant::now();
    let mut compressed = loaded.header.to_bytes()?;
    let header = compressed.len();
    file::compress(&loaded.codec, text.as_slice(), &mut compressed, |_| ())?;
    let compress = started.elapsed();
    let started = Instant::now();
    let mut restored = Vec::new();
    file::restore(&loaded.codec, &compressed[header..], &mut restored, |_| ())?;
    let restore = started.elapsed();
    ensure!(
        restored == text,
        "`{}` came back as another text",
        path.display()
    );
    let documents = Divided::new(&text).documents;
    let row = Measured {
        name: match corpus.split {
            Some(split) => format!("{} {split}", corpus.name),
            None => corpus.name,
        },
        text: &text,
        documents: &documents,
        compressed: compressed.len() as u64,
        characters: None,
        compress,
        restore,
        others: Others::compress(&text)?,
    };
    row.row(loaded)
}

fn of_messages(loaded: &Loaded, path: &Path) -> anyhow::Result<ZipRow> {
    let text = fs::read(path);
    let text = text.with_context(|| {
        format!(
            "cannot read `{}`; give messages, one a line, with `--messages`",
            path.display()
        )
    })?;
    let messages: Vec<&[u8]> = text
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .collect();
    let started = Instant::now();
    let packed: Vec<Vec<u8>> = messages
        .iter()
        .map(|text| message::pack(loaded, text))
        .collect();
    let compress = started.elapsed();
    let started = Instant::now();
    for (packed, text) in packed.iter().zip(&messages) {
        let restored = message::unpack(loaded, packed)?;
        ensure!(restored == *text, "a message came back as another text");
    }
    let restore = started.elapsed();
    let mut others = Others::default();
    for text in &messages {
        others.add(Others::compress(text)?);
    }
    let characters = messages
        .iter()
        .map(|text| message::encode(loaded, text).len() as u64);
    let row = Measured {
        name: path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        text: &text,
        documents: &messages,
        compressed: packed.iter().map(|packed| packed.len() as u64).sum(),
        characters: Some(characters.sum()),
        compress,
        restore,
        others,
    };
    row.row(loaded)
}

/// What was measured of a text.
struct Measured<'t> {
    name: String,
    text: &'t [u8],
    documents: &'t [&'t [u8]],
    compressed: u64,
    characters: Option<u64>,
    compress: Duration,
    restore: Duration,
    others: Others,
}

impl Measured<'_> {
    fn row(self, loaded: &Loaded) -> anyhow::Result<ZipRow> {
        let checkpoint = &loaded.checkpoint;
        let score = Score::of(loaded, self.documents)?;
        let bytes = match self.characters {
            None => self.text.len(),
            Some(_) => self.documents.iter().map(|text| text.len()).sum(),
        };
        Ok(ZipRow {
            model: model_info(
                &checkpoint.name,
                &checkpoint.file_sha256,
                &checkpoint.checkpoint,
            ),
            model_file_bytes: checkpoint.file_bytes as u64,
            text: self.name,
            text_sha256: sha256_hex(self.text),
            each_alone: self.characters.is_some(),
            documents: self.documents.len() as u64,
            bytes: bytes as u64,
            compressed_bytes: self.compressed,
            characters: self.characters,
            score_bytes: score.documents,
            ends_bytes: score.ends,
            zstd_bytes: self.others.zstd,
            xz_bytes: self.others.xz,
            bzip2_bytes: self.others.bzip2,
            ppmd_bytes: self.others.ppmd,
            compress_seconds: self.compress.as_secs_f64(),
            restore_seconds: self.restore.as_secs_f64(),
        })
    }
}

/// Information in bytes, by the model's likelihood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Score {
    pub(crate) documents: f64,
    pub(crate) ends: f64,
}

impl Score {
    /// Scores documents as `itera-validate` does, and the end-of-text behind each.
    pub(crate) fn of(loaded: &Loaded, documents: &[&[u8]]) -> anyhow::Result<Self> {
        let tokenizer = &loaded.codec.tokenizer;
        let mut tokens = Vec::new();
        for text in documents {
            let mut document = tokenizer.encode(text)?;
            document.push(tokenizer.end_of_text());
            tokens.push(document);
        }
        let tokens: Vec<&[u32]> = tokens.iter().map(Vec::as_slice).collect();
        let mut left: Vec<usize> = tokens.iter().map(|tokens| tokens.len()).collect();
        let (mut inside, mut ends) = (0.0, 0.0);
        let mut scorer = loaded.codec.model.scorer(tokenizer.end_of_text());
        scorer.tokens(&tokens, |document, nats| {
            left[document] -= 1;
            if left[document] == 0 {
                ends += nats;
            } else {
                inside += nats;
            }
        });
        let bytes = |nats: f64| nats / std::f64::consts::LN_2 / 8.0;
        Ok(Self {
            documents: bytes(inside),
            ends: bytes(ends),
        })
    }
}

fn table(rows: &[ZipRow]) -> Table {
    let number = |head| (head, Align::Right);
    let mut table = Table::new(&[
        ("model", Align::Left),
        ("text", Align::Left),
        number("bytes"),
        number("itera-zip"),
        number("score"),
        number("ends"),
        number("zstd -19"),
        number("xz -9"),
        number("bzip2 -9"),
        number("PPMd"),
        number("MB/s in"),
        number("MB/s out"),
    ]);
    for row in rows {
        let speed = |seconds: f64| format!("{:.3}", row.bytes as f64 / 1e6 / seconds.max(1e-9));
        table.row([
            row.model.label(),
            row.text.clone(),
            row.bytes.to_string(),
            row.compressed_bytes.to_string(),
            format!("{:.0}", row.score_bytes),
            format!("{:.0}", row.ends_bytes),
            row.zstd_bytes.to_string(),
            row.xz_bytes.to_string(),
            row.bzip2_bytes.to_string(),
            row.ppmd_bytes.to_string(),
            speed(row.compress_seconds),
            speed(row.restore_seconds),
        ]);
    }
    table
}

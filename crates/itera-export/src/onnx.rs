//! The command `onnx`: writes files.

use std::{path::PathBuf, time::Instant};

use anyhow::Context as _;
use itera_cli::{Align, ExitStatus, Files, Table, note, print, results_folder};
use itera_core::{
    checkpoint::Precision,
    files::write_atomic,
    models::{LoadedCheckpoint, load_at_precision, shipped_models},
};
use prost::Message as _;

use crate::{
    args::{GraphArg, LayersArg, OnnxArgs},
    graph::{self, Kind, Layout, Request, Source, count_nodes},
};

/// Folder of the files in that of the results.
pub(crate) const FOLDER: &str = "onnx";

/// Writes every graph of every checkpoint at every precision asked for, and a table of them.
pub(crate) fn run(args: &OnnxArgs) -> anyhow::Result<ExitStatus> {
    let folder = match &args.output {
        Some(folder) => folder.clone(),
        None => results_folder()?.join(FOLDER),
    };
    let names = checkpoints(&args.checkpoint)?;
    let kinds = match args.graph {
        GraphArg::Step => vec![Kind::Step],
        GraphArg::Sequence => vec![Kind::Sequence],
        GraphArg::Both => Kind::ALL.to_vec(),
    };
    let (mut files, mut texts, mut known) = (Vec::new(), Vec::new(), Files::default());
    for name in &names {
        for (nth, precision) in args.precision.list().into_iter().enumerate() {
            let loaded = load(name, precision)?;
            if nth == 0 {
                for (part, text) in companions(&loaded)? {
                    let path = folder.join(format!("{}.{part}", loaded.name));
                    known = known.write(format!("the {part} of {name}"), &path);
                    texts.push((path, text));
                }
            }
            if let Some(path) = &loaded.path {
                known = known.read(format!("the checkpoint {name}"), path);
            }
            for &kind in &kinds {
                let request = Request {
                    kind,
                    opset: args.opset,
                    layout: args.layers.map(layout),
                };
                let started = Instant::now();
                let file = Encoded::new(&loaded, request)?;
                let path = folder.join(file_name(&loaded.name, kind, precision));
                known = known.write(format!("the {kind} graph of {name} at {precision}"), &path);
                files.push((file, path, started.elapsed().as_secs_f64()));
            }
        }
    }
    known.check()?;
    // All are made before the first is written, so that a refusal changes nothing.
    for (file, path, seconds) in &files {
        write_atomic(path, &file.bytes)?;
        note(format!("wrote {} in {seconds:.2} s", path.display()));
    }
    for (path, text) in &texts {
        write_atomic(path, text.as_bytes())?;
        note(format!("wrote {}", path.display()));
    }
    print(table(&files))?;
    Ok(ExitStatus::Done)
}

/// What other tools want beside the graphs, which is the same at every precision: the tokenizer, and the sizes with
/// the ids of the tokens that begin and end a text.
fn companions(loaded: &LoadedCheckpoint) -> anyhow::Result<[(&'static str, String); 2]> {
    let checkpoint = &loaded.checkpoint;
    let mut config = serde_json::to_value(&checkpoint.config)?;
    let end_of_text = checkpoint.tokenizer.end_of_text();
    config["model_type"] = "itera-lite".into();
    config["bos_token_id"] = end_of_text.into();
    config["eos_token_id"] = end_of_text.into();
    config.sort_all_objects();
    let mut tokenizer = checkpoint.tokenizer.to_json();
    tokenizer.sort_all_objects();
    Ok([
        ("config.json", format!("{config:#}\n")),
        ("tokenizer.json", format!("{tokenizer:#}\n")),
    ])
}

/// The names given, or all that are shipped.
pub(crate) fn checkpoints(given: &[String]) -> anyhow::Result<Vec<String>> {
    if given.is_empty() {
        return shipped_models().context("cannot list the shipped checkpoints");
    }
    Ok(given.to_vec())
}

/// A checkpoint at a precision, with a word about weights that no file has.
pub(crate) fn load(name: &str, precision: Precision) -> anyhow::Result<LoadedCheckpoint> {
    let loaded = load_at_precision(name, precision)?;
    if let Some(caveat) = loaded.caveat() {
        note(caveat);
    }
    Ok(loaded)
}

/// The files of checkpoints, which are read.
pub(crate) fn files<'a>(loaded: impl IntoIterator<Item = &'a LoadedCheckpoint>) -> Files {
    let paths = loaded.into_iter().filter_map(|loaded| loaded.path.as_ref());
    paths.fold(Files::default(), |files, path| {
        files.read("`--checkpoint`", path)
    })
}

/// `NAME.GRAPH.PRECISION.onnx`.
pub(crate) fn file_name(name: &str, kind: Kind, precision: Precision) -> PathBuf {
    PathBuf::from(format!("{name}.{kind}.{precision}.onnx"))
}

fn layout(argument: LayersArg) -> Layout {
    match argument {
        LayersArg::Unrolled => Layout::Unrolled,
        LayersArg::Stacked => Layout::Stacked,
    }
}

/// A file ready to be written, with its counts.
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    nodes: usize,
    params: usize,
    weight_bytes: usize,
}

impl Encoded {
    pub(crate) fn new(loaded: &LoadedCheckpoint, request: Request) -> anyhow::Result<Self> {
        let checkpoint = &loaded.checkpoint;
        let source = Source {
            name: &loaded.name,
            file_sha256: &loaded.file_sha256,
            checkpoint,
        };
        let proto = graph::build(&source, request)?;
        Ok(Self {
            bytes: proto.encode_to_vec(),
            nodes: proto.graph.as_ref().map_or(0, count_nodes),
            params: checkpoint.config.parameters(),
            weight_bytes: checkpoint.weight_bytes(),
        })
    }
}

fn table(files: &[(Encoded, PathBuf, f64)]) -> Table {
    let mut table = Table::new(&[
        ("file", Align::Left),
        ("nodes", Align::Right),
        ("bytes", Align::Right),
        ("weights", Align::Right),
        ("file/weights", Align::Right),
        ("bits/weight", Align::Right),
    ]);
    for (file, path, _) in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let bytes = file.bytes.len();
        table.row([
            name.into_owned(),
            file.nodes.to_string(),
            bytes.to_string(),
            file.weight_bytes.to_string(),
            format!("{:.3}", bytes as f64 / file.weight_bytes as f64),
            format!("{:.2}", 8.0 * bytes as f64 / file.params as f64),
        ]);
    }
    table
}

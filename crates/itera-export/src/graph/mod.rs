//! A checkpoint as an ONNX graph.
//!
//! | file | what |
//! |---|---|
//! | `builder`, `ops` | nodes and constants; small functions of several nodes |
//! | `weights` | the tensors of a checkpoint as constants, floats or integers |
//! | `sequence`, `step` | the mixer for many tokens, and for one |
//! | `carry` | the state from chunk to chunk |
//! | `experts` | the mixture of experts |
//! | `layers` | the layers written out, or as one `Scan` over stacked weights |
//! | `describe` | names, shapes, documentation, metadata |
//! | `shorten` | short names inside the smallest files |

mod builder;
mod carry;
mod describe;
mod experts;
mod layers;
mod ops;
mod sequence;
mod shorten;
mod step;
mod weights;

use std::{fmt, str::FromStr};

use anyhow::{Error, bail, ensure};
use itera_core::checkpoint::{Checkpoint, Precision};
use tract_onnx::pb::{GraphProto, ModelProto, OperatorSetIdProto};

pub(crate) use self::describe::{FORMAT_VERSION, key};
use self::{
    builder::{Builder, Value},
    ops::{Matrix, Norm, product},
    sequence::Shared,
};

/// Opsets that the graphs can have.
pub(crate) const OPSETS: std::ops::RangeInclusive<i64> = 18..=23;

/// The first opset with blocks in `DequantizeLinear` and with integers of 4 bits.
pub(crate) const INT4_OPSET: i64 = 21;

/// The most nodes of a graph. Runtimes take time for each, and many nodes are the mark of an unrolled
/// recurrence.
const MAX_NODES: usize = 400;

/// Name of the body that stands for every layer where they are stacked.
pub(crate) const LAYER_BODY: &str = "layer";

/// Which graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One token at a time.
    Step,
    /// Any number of tokens at once.
    Sequence,
}

impl Kind {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Step, Self::Sequence];

    /// The name used on command lines, in files and in results.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Sequence => "sequence",
        }
    }

    /// The name of the input with the tokens.
    pub(crate) const fn tokens(self) -> &'static str {
        match self {
            Self::Step => "token",
            Self::Sequence => "tokens",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match Self::ALL.into_iter().find(|kind| kind.name() == name) {
            Some(kind) => Ok(kind),
            None => bail!("no graph is called {name:?}; graphs are step, sequence"),
        }
    }
}

/// How the layers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Each for itself: fast, since runtimes prepare constants.
    Unrolled,
    /// One `Scan` over stacked weights: small.
    Stacked,
}

/// A checkpoint and where it came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) name: &'a str,
    pub(crate) file_sha256: &'a str,
    pub(crate) checkpoint: &'a Checkpoint,
}

/// What to write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) kind: Kind,
    pub(crate) opset: i64,
    /// `None` for what suits the precision.
    pub(crate) layout: Option<Layout>,
}

/// Writes the graph of a checkpoint.
///
/// # Errors
/// An opset that the graph cannot have.
pub(crate) fn build(source: &Source<'_>, request: Request) -> anyhow::Result<ModelProto> {
    let Request { kind, opset, .. } = request;
    let checkpoint = source.checkpoint;
    check_opset(checkpoint, opset)?;
    let layout = layers::choose(checkpoint, request.layout);
    // Few layers leave room for the nodes that spare the file 22 kB of tables.
    let mut graph = write(checkpoint, request, layout, false);
    if count_nodes(&graph) > MAX_NODES {
        graph = write(checkpoint, request, layout, true);
    }
    if checkpoint.precision() == Precision::Int4 {
        shorten::names(&mut graph);
    }
    Ok(ModelProto {
        ir_version: ir_version(opset),
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: opset,
        }],
        producer_name: crate::TOOL.to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        metadata_props: describe::metadata(source, kind, &graph),
        graph: Some(graph),
        ..ModelProto::default()
    })
}

/// Nodes and constants, inputs and outputs. `stores_tables` saves nodes, see [`Shared::new`].
fn write(
    checkpoint: &Checkpoint,
    request: Request,
    layout: Layout,
    stores_tables: bool,
) -> GraphProto {
    let Request { kind, opset, .. } = request;
    let mut b = Builder::new(layout == Layout::Unrolled);
    match kind {
        Kind::Step => step(&mut b, checkpoint, opset, layout),
        Kind::Sequence => sequence(&mut b, checkpoint, opset, layout, stores_tables),
    }
    let (nodes, initializers) = b.finish();
    GraphProto {
        name: format!("itera_{kind}"),
        node: nodes,
        initializer: initializers,
        input: describe::inputs(&checkpoint.config, kind),
        output: describe::outputs(&checkpoint.config, kind),
        doc_string: describe::documentation(checkpoint, kind),
        ..GraphProto::default()
    }
}

fn check_opset(checkpoint: &Checkpoint, opset: i64) -> anyhow::Result<()> {
    ensure!(
        OPSETS.contains(&opset),
        "`--opset` is {opset}, expected {} to {}",
        OPSETS.start(),
        OPSETS.end()
    );
    ensure!(
        checkpoint.precision() != Precision::Int4 || opset >= INT4_OPSET,
        "`--opset` is {opset}, but integers of 4 bits with a scale for each block need at least \
         {INT4_OPSET}; give `--opset {INT4_OPSET}`, or `--precision int8`"
    );
    Ok(())
}

/// The version of the file's form that came with an opset.
const fn ir_version(opset: i64) -> i64 {
    match opset {
        ..=18 => 8,
        19..=20 => 9,
        21..=22 => 10,
        _ => 11,
    }
}

/// `token [batch]` to `logits [batch, vocab_size]`.
fn step(b: &mut Builder, checkpoint: &Checkpoint, opset: i64, layout: Layout) {
    let c = &checkpoint.config;
    let norm = Norm::new(b, opset, c.norm_eps);
    let routing = step::routing(b, c, layout == Layout::Unrolled);
    let embedding = weights::embedding(checkpoint).write(b, "embedding").value;
    let x = b.op(
        "embedded",
        "Gather",
        &[&embedding, Kind::Step.tokens()],
        vec![],
    );
    let x = layers::write(b, checkpoint, layout, x, &|b, layer, state, x| {
        let u = norm.apply(b, "u", x, &layer.mixer_norm);
        let mixed = step::mixer(b, c, &norm, layer, &u, state);
        let x = b.op("x_mixed", "Add", &[x, &mixed], vec![]);
        let u = norm.apply(b, "u2", &x, &layer.moe_norm);
        let out = experts::forward(b, c, routing.as_ref(), layer, &u);
        b.op("x_out", "Add", &[&x, &out], vec![])
    });
    head(b, checkpoint, &norm, &x, embedding);
}

/// `tokens [batch, seq]` to `logits [batch, seq, vocab_size]`.
fn sequence(
    b: &mut Builder,
    checkpoint: &Checkpoint,
    opset: i64,
    layout: Layout,
    stores_tables: bool,
) {
    let c = &checkpoint.config;
    let norm = Norm::new(b, opset, c.norm_eps);
    let is_unrolled = layout == Layout::Unrolled;
    // tract, which a Scan inside of another is not for, has no integers of 4 bits.
    let has_scan = is_unrolled || checkpoint.precision() == Precision::Int4;
    let shared = Shared::new(b, c, stores_tables, is_unrolled, has_scan);
    let embedding = weights::embedding(checkpoint).write(b, "embedding").value;
    let x = b.op("embedded", "Gather", &[&embedding, &shared.tokens], vec![]);
    let x = layers::write(b, checkpoint, layout, x, &|b, layer, state, x| {
        let u = norm.apply(b, "u", x, &layer.mixer_norm);
        let mixed = sequence::mixer(b, c, &shared, &norm, layer, &u, state);
        let x = b.op("x_mixed", "Add", &[x, &mixed], vec![]);
        let u = norm.apply(b, "u2", &x, &layer.moe_norm);
        let out = experts::forward(b, c, shared.routing.as_ref(), layer, &u);
        b.op("x_out", "Add", &[&x, &out], vec![])
    });
    let [from, axis] = [0, 1].map(|i| b.ints(&[i]));
    let x = b.op("x_real", "Slice", &[&x, &from, &shared.len, &axis], vec![]);
    head(b, checkpoint, &norm, &x, embedding);
}

/// The final norm, and the embedding again.
fn head(b: &mut Builder, checkpoint: &Checkpoint, norm: &Norm, x: &str, embedding: Value) {
    let gain = weights::final_norm(checkpoint).write(b, "final_norm").value;
    let x = norm.apply(b, "x_final", x, &gain);
    product(
        b,
        "logits",
        &x,
        &Matrix {
            value: embedding,
            transposed: true,
        },
    );
}

/// Nodes of a graph, those of bodies included.
pub(crate) fn count_nodes(graph: &GraphProto) -> usize {
    let bodies = graph.node.iter().flat_map(|node| &node.attribute);
    let inside: usize = bodies.filter_map(|a| a.g.as_ref()).map(count_nodes).sum();
    graph.node.len() + inside
}

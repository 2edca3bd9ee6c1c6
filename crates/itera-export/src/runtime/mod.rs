//! Running a graph: the same few calls for every runtime.

#[cfg(feature = "burn")]
pub(crate) mod imported;
pub(crate) mod library;
pub(crate) mod native;
pub(crate) mod onnxruntime;
pub(crate) mod tract;

use anyhow::ensure;
use itera_core::config::ModelConfig;

use crate::{file::OnnxFile, graph::Kind};

/// Recurrent state of some sequences in the layout of the files: for each layer
/// `[batch, channels, d_conv - 1]` of the convolution, then `[batch, n_heads, head_dim, d_state]` of the state
/// space.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State(pub(crate) Vec<Vec<f32>>);

impl State {
    /// Nothing has been read.
    pub(crate) fn new(config: &ModelConfig, batch: usize) -> Self {
        let sizes = shapes(config, batch)
            .into_iter()
            .map(|shape| shape.iter().product());
        Self(sizes.map(|size| vec![0.0; size]).collect())
    }

    /// All values, layer by layer.
    pub(crate) fn values(&self) -> impl Iterator<Item = f32> + '_ {
        self.0.iter().flatten().copied()
    }
}

/// Shapes of the parts of a [`State`].
pub(crate) fn shapes(config: &ModelConfig, batch: usize) -> Vec<Vec<usize>> {
    let of_layer = [
        vec![batch, config.d_conv_channels(), config.d_conv - 1],
        vec![batch, config.n_heads(), config.head_dim, config.d_state],
    ];
    (0..config.n_layers)
        .flat_map(|_| of_layer.clone())
        .collect()
}

/// A graph, loaded by a runtime.
pub(crate) trait Session {
    /// Reads the next tokens `[batch, tokens]` of each sequence: one with a step graph, 1 or more with a sequence
    /// graph. Moves `state` on and gives the logits after each token, `[batch, tokens, vocab_size]`.
    ///
    /// # Errors
    /// What the runtime says.
    fn run(&mut self, tokens: &[u32], batch: usize, state: &mut State) -> anyhow::Result<Vec<f32>>;
}

/// Lengths that a text is fed in: whole chunks and none, prime, and one.
const PIECES: [usize; 4] = [128, 33, 7, 1];

/// Reads `tokens` in pieces of several lengths, so that the state is carried between them, and calls
/// `then` with the logits `[vocab_size]` after each.
pub(crate) fn read(
    session: &mut dyn Session,
    file: &OnnxFile,
    tokens: &[u32],
    state: &mut State,
    then: &mut dyn FnMut(&[f32]),
) -> anyhow::Result<()> {
    let vocab_size = file.config.vocab_size;
    let mut left = tokens;
    while !left.is_empty() {
        let len = match file.kind {
            Kind::Step => 1,
            Kind::Sequence => *PIECES.iter().find(|len| **len <= left.len()).unwrap_or(&1),
        };
        let (piece, rest) = left.split_at(len);
        let logits = session.run(piece, 1, state)?;
        ensure!(
            logits.len() == len * vocab_size,
            "{} logits came out for {len} tokens, expected {}",
            logits.len(),
            len * vocab_size
        );
        logits.chunks_exact(vocab_size).for_each(&mut *then);
        left = rest;
    }
    Ok(())
}

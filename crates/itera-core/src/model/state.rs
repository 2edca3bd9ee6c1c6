//! Everything that changes while tokens pass: the recurrent state of a session, and scratch buffers.

use alloc::{vec, vec::Vec};

use crate::{
    config::ModelConfig,
    kernels::{AddScaled, Buffer, Hidden, Kernel, Quantized, Routes, Table},
};

/// The recurrent state of one session: all that the model remembers of the tokens it has read.
/// Its size does not depend on how many those are.
#[derive(Clone, Debug)]
pub struct State {
    pub(super) layers: Vec<LayerState>,
}

/// The part of one layer.
#[derive(Clone, Debug)]
pub(super) struct LayerState {
    pub(super) h: Hidden,         // [d_state, d_inner]
    pub(super) conv: Buffer<f32>, // [d_conv - 1, channels], oldest first
}

impl State {
    /// A fresh state: nothing has been read.
    pub(super) fn new(config: &ModelConfig) -> Self {
        let layer = LayerState {
            h: Hidden::new(config.d_state, config.d_inner),
            conv: Buffer::new((config.d_conv - 1) * config.d_conv_channels()),
        };
        Self {
            layers: vec![layer; config.n_layers],
        }
    }

    /// Forgets every token, as if the state were new.
    pub fn reset(&mut self) {
        for layer in &mut self.layers {
            layer.h.reset();
            layer.conv.fill(0.0);
        }
    }

    /// The recurrent values of every layer: `[d_state, d_inner]` of the state space, then
    /// `[d_conv - 1, d_inner + 2 * d_state]` of the convolution.
    pub fn values(&self) -> impl Iterator<Item = f32> + '_ {
        self.layers
            .iter()
            .flat_map(|layer| layer.h.iter().chain(layer.conv.iter().copied()))
    }

    /// Takes over recurrent values in the order of [`values`](Self::values).
    ///
    /// # Panics
    /// If there are fewer or more of them.
    pub fn set_values(&mut self, values: &[f32]) {
        assert_eq!(size_of_val(values), self.bytes(), "bytes of the values");
        let mut rest = values;
        for layer in &mut self.layers {
            let (h, others) = rest.split_at(layer.h.len());
            let (conv, others) = others.split_at(layer.conv.len());
            layer.h.copy_from_slice(h);
            layer.conv.copy_from_slice(conv);
            rest = others;
        }
    }

    /// Bytes of the recurrent values: the cost of another session.
    pub fn bytes(&self) -> usize {
        let layers = self.layers.iter();
        layers
            .map(|layer| (layer.h.len() + layer.conv.len()) * size_of::<f32>())
            .sum()
    }
}

/// The buffers of the forward pass, all of its memory. One serves any number of sessions, one at a
/// time; threads have one each.
#[derive(Clone, Debug)]
pub struct Workspace {
    pub(super) rows: usize,      // tokens that the buffers hold
    pub(super) spans: Vec<Span>, // [<= rows]
    pub(super) x: Table,         // [rows, d_model] residual stream
    pub(super) u: Table,         // [rows, d_model] normalised input of a sub-layer
    pub(super) zxbcdt: Table,    // [rows, d_in_proj]
    pub(super) xbc: Table,       // [rows, channels] outputs of the convolution
    pub(super) dt: Table,        // [rows, n_heads]
    pub(super) decay: Table,     // [rows, n_heads] exp(dt A)
    pub(super) y: Table,         // [rows, d_inner]
    pub(super) out: Table,       // [rows, d_model] output of a product
    pub(super) hidden: Table,    // [rows, 2 * widest expert]
    pub(super) active: Table,    // [rows, widest expert]
    pub(super) routes: Routes,
    pub(super) quantized: Quantized, // inputs of integer products
    pub(super) inner: Quantized,     // the same, inside an expert
    pub(super) last: Vec<u32>,       // [<= rows] rows whose logits are wanted
    pub(super) logits: Table,        // [rows, vocab_size]
}

/// Rows of one sequence in the buffers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) sequence: usize,
    pub(super) start: usize,
    pub(super) len: usize,
}

impl Workspace {
    /// Memory for `rows` tokens at once. Rows of all buffers are filled up to whole vectors.
    pub(super) fn new(config: &ModelConfig, rows: usize) -> Self {
        let wide = |width| Table::new(rows, width);
        let widest_expert = config.d_expert.max(config.d_shared);
        let widest_input = config.d_model.max(config.d_inner);
        Self {
            rows,
            spans: Vec::with_capacity(rows),
            x: wide(config.d_model),
            u: wide(config.d_model),
            zxbcdt: wide(config.d_in_proj()),
            xbc: wide(config.d_conv_channels()),
            dt: wide(config.n_heads()),
            decay: wide(config.n_heads()),
            y: wide(config.d_inner),
            out: wide(config.d_model),
            hidden: wide(2 * widest_expert),
            active: wide(widest_expert),
            routes: Routes::new(config, rows),
            quantized: Quantized::new(rows, widest_input),
            inner: Quantized::new(rows, widest_expert),
            last: Vec::with_capacity(rows),
            logits: wide(config.vocab_size),
        }
    }

    /// `x += out` for the first `rows` rows.
    pub(super) fn add_out(&mut self, kernel: Kernel, rows: usize) {
        kernel.run(AddScaled {
            weight: 1.0,
            x: self.out.rows(0, rows).values,
            to: self.x.rows_mut(0, rows).values,
        });
    }
}

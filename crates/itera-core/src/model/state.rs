//! Everything that changes while tokens pass: recurrent state and scratch memory.

use crate::config::ModelConfig;

/// The recurrent state of one session and the buffers of the forward pass. All memory is taken
/// here; the forward pass allocates nothing.
#[derive(Clone, Debug)]
pub struct State {
    pub(super) layers: Vec<LayerState>,
    pub(super) scratch: Scratch,
}

/// What one layer remembers of all tokens before.
#[derive(Clone, Debug)]
pub(super) struct LayerState {
    pub(super) h: Vec<f32>,    // [d_state, d_inner]
    pub(super) conv: Vec<f32>, // [d_conv - 1, channels], oldest first
}

/// Buffers for `chunk` tokens, written before they are read.
#[derive(Clone, Debug)]
pub(super) struct Scratch {
    pub(super) x: Vec<f32>,         // [chunk, d_model] residual stream
    pub(super) u: Vec<f32>,         // [chunk, d_model] normalised input of a sub-layer
    pub(super) zxbcdt: Vec<f32>,    // [chunk, d_in_proj]
    pub(super) conv: Vec<f32>,      // [d_conv - 1 + chunk, channels] inputs of the convolution
    pub(super) xbc: Vec<f32>,       // [chunk, channels] outputs of the convolution
    pub(super) dt: Vec<f32>,        // [chunk, n_heads]
    pub(super) log_decay: Vec<f32>, // [chunk, n_heads] running sum of dt A within the chunk
    pub(super) cb: Vec<f32>,        // [chunk, chunk] C_t · B_s
    pub(super) y: Vec<f32>,         // [chunk, d_inner]
    pub(super) out: Vec<f32>,       // [chunk, d_model] output of a sub-layer
    pub(super) router: Vec<f32>,    // [n_experts]
    pub(super) chosen: Vec<usize>,  // [top_k]
    pub(super) hidden: Vec<f32>,    // [2 * widest expert]
    pub(super) logits: Vec<f32>,    // [chunk, vocab_size]
}

impl State {
    /// A fresh state: nothing has been read.
    pub(super) fn new(config: &ModelConfig) -> Self {
        let (chunk, channels) = (config.chunk, config.d_conv_channels());
        let history = config.d_conv - 1;
        let layer = LayerState {
            h: vec![0.0; config.d_state * config.d_inner],
            conv: vec![0.0; history * channels],
        };
        let scratch = Scratch {
            x: vec![0.0; chunk * config.d_model],
            u: vec![0.0; chunk * config.d_model],
            zxbcdt: vec![0.0; chunk * config.d_in_proj()],
            conv: vec![0.0; (history + chunk) * channels],
            xbc: vec![0.0; chunk * channels],
            dt: vec![0.0; chunk * config.n_heads()],
            log_decay: vec![0.0; chunk * config.n_heads()],
            cb: vec![0.0; chunk * chunk],
            y: vec![0.0; chunk * config.d_inner],
            out: vec![0.0; chunk * config.d_model],
            router: vec![0.0; config.n_experts],
            chosen: vec![0; config.top_k],
            hidden: vec![0.0; 2 * config.d_expert.max(config.d_shared)],
            logits: vec![0.0; chunk * config.vocab_size],
        };
        Self {
            layers: vec![layer; config.n_layers],
            scratch,
        }
    }

    /// Forgets every token, as if the state were new.
    pub fn reset(&mut self) {
        for layer in &mut self.layers {
            layer.h.fill(0.0);
            layer.conv.fill(0.0);
        }
    }

    /// The recurrent values of every layer: `[d_state, d_inner]` of the state space, then
    /// `[d_conv - 1, d_inner + 2 * d_state]` of the convolution.
    pub fn values(&self) -> impl Iterator<Item = f32> + '_ {
        self.layers
            .iter()
            .flat_map(|layer| layer.h.iter().chain(&layer.conv).copied())
    }
}

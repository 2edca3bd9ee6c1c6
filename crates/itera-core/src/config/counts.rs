//! Parameters, work and state of a model by its sizes, and the dense models that it is compared with.

use super::{ModelConfig, Routing, TensorSpec};

impl ModelConfig {
    /// Parameters of the model; the embedding serves as output head and counts once.
    pub fn parameters(&self) -> usize {
        self.tensors().iter().map(TensorSpec::len).sum()
    }

    /// Parameters that take part in the computation of one token: all but the experts not chosen.
    /// The embedding counts whole, because as the output head it is read whole.
    pub fn active_parameters(&self) -> usize {
        let idle_experts = self.n_experts - self.top_k;
        self.parameters() - self.n_layers * idle_experts * 3 * self.d_expert * self.d_model
    }

    /// Multiply-adds for one token in the step form, the output head included.
    ///
    /// Counted: every weight matrix, the convolution, and per state element one multiply-add for
    /// the update `h = a h + (dt x) B` (two with the decay) and one for the readout `y = h C`.
    /// Norms, activations and the router's softmax are not counted.
    pub fn multiply_adds_per_token(&self) -> usize {
        let mixer = self.d_model * self.d_in_proj()
            + self.d_conv_channels() * self.d_conv
            + 3 * self.d_inner * self.d_state
            + self.d_inner
            + self.d_inner * self.d_model;
        let router = if self.n_experts > 1 {
            self.n_experts * self.d_model
        } else {
            0
        };
        let experts = (self.top_k * self.d_expert + self.d_shared) * 3 * self.d_model;
        self.n_layers * (mixer + router + experts) + self.vocab_size * self.d_model
    }

    /// Values of recurrent state that one session carries from token to token: for every layer the
    /// SSM state `[n_heads, d_state, head_dim]` and the last `d_conv - 1` convolution inputs.
    pub const fn state_len(&self) -> usize {
        self.n_layers * (self.d_inner * self.d_state + (self.d_conv - 1) * self.d_conv_channels())
    }

    /// A model without routing and as many parameters as this one, but for the router: one expert
    /// as wide as all experts together.
    #[must_use]
    pub fn dense_twin_of_total(&self) -> Self {
        self.dense(self.n_experts * self.d_expert + self.d_shared)
    }

    /// A model without routing that computes as much per token as this one: one expert as wide as
    /// the experts that a token visits.
    #[must_use]
    pub fn dense_twin_of_active(&self) -> Self {
        self.dense(self.top_k * self.d_expert + self.d_shared)
    }

    fn dense(&self, d_expert: usize) -> Self {
        Self {
            n_experts: 1,
            top_k: 1,
            d_expert,
            d_shared: 0,
            routing: Routing::All,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Preset;

    #[test]
    fn micro_counts_agree_with_a_count_by_hand() {
        let config = Preset::Micro.config(512);
        // in_proj (2*112 + 2*24 + 7) * 64, conv 160 * 5, dt/A/D 21, norms 64 + 112 + 64,
        // out_proj 64 * 112, router 4 * 64, experts 4 * 3 * 32 * 64
        let layer = 279 * 64 + 800 + 21 + 240 + 7168 + 256 + 24_576;
        assert_eq!(config.parameters(), 512 * 64 + 5 * layer + 64);
        assert_eq!(
            config.active_parameters(),
            config.parameters() - 5 * 2 * 3 * 32 * 64
        );
        // The matrices, 4 taps, 3 operations per state element, D, and the head.
        let madds = 279 * 64 + 160 * 4 + 3 * 112 * 24 + 112 + 7168 + 256 + 2 * 3 * 32 * 64;
        assert_eq!(config.multiply_adds_per_token(), 5 * madds + 512 * 64);
        assert_eq!(config.state_len(), 5 * (112 * 24 + 3 * 160));
    }

    #[test]
    fn dense_twins_keep_what_they_are_named_for() {
        let config = Preset::Micro.config(512);
        let router = config.n_layers * config.n_experts * config.d_model;
        assert_eq!(
            config.dense_twin_of_total().parameters(),
            config.parameters() - router
        );
        let active = config.dense_twin_of_active();
        assert_eq!(
            active.active_parameters(),
            config.active_parameters() - router
        );
        assert_eq!(active.parameters(), active.active_parameters());
    }
}

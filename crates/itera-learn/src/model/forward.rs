//! The forward pass by fused operators.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use itera_core::config::ModelConfig;

use super::{
    Dropout, Gain, LanguageModel, Mixer, Moe, Output, Shared, Tokens, carry::FusedState, indices,
};
use crate::{
    fused::{Experts, RmsNorm, Ssm, SsmDims, SsmMemory},
    host,
};

impl LanguageModel {
    pub(super) fn dims(&self, batch: usize, length: usize) -> SsmDims {
        SsmDims {
            batch,
            length,
            d_inner: self.config.d_inner,
            d_state: self.config.d_state,
            head_dim: self.config.head_dim,
            d_conv: self.config.d_conv,
            norm_eps: self.config.norm_eps,
        }
    }

    pub(super) fn fused(
        &self,
        tokens: &Tokens,
        state: &mut FusedState,
        dropout: &mut Dropout,
    ) -> Output {
        let ids = indices(&tokens.inputs, &self.device());
        let dims = self.dims(tokens.batch, tokens.length);
        let (mut router, mut visits) = (Vec::new(), Vec::new());

        let mut x = self.embedding.weight.val().select(0, ids); // [rows, d_model]
        for (block, memory) in self.layers.iter().zip(&mut state.layers) {
            let u = self.norm(x.clone(), &block.mixer_norm);
            let ssm = Ssm {
                dims,
                resets: tokens.resets.clone(),
                memory: memory.clone(),
            };
            let (y, after) = block.mixer.forward(u, ssm);
            *memory = after;
            x = x + dropout.apply(y);
            let u = self.norm(x.clone(), &block.moe_norm);
            let (y, routed) = block.moe.forward(&self.config, u);
            if let Some((logits, counts)) = routed {
                router.push(logits);
                visits.push(counts);
            }
            x = x + dropout.apply(y);
        }
        let x = self.norm(x, &self.final_norm);
        let logits = x.matmul(self.embedding.weight.val().transpose()); // [rows, vocab_size]
        Output {
            logits,
            router,
            visits,
        }
    }

    /// # Shapes
    /// `x [rows, width]`, the result alike.
    fn norm(&self, x: Tensor<2>, gain: &Gain) -> Tensor<2> {
        let op = RmsNorm {
            eps: self.config.norm_eps,
        };
        let inputs = [x.into_dispatch(), gain.weight.val().into_dispatch()];
        Tensor::from_dispatch(host::apply(op, inputs).0)
    }
}

impl Mixer {
    /// # Shapes
    /// `u [rows, d_model]`, the result alike.
    fn forward(&self, u: Tensor<2>, ssm: Ssm) -> (Tensor<2>, Arc<SsmMemory>) {
        let zxbcdt = u.matmul(self.in_proj.weight.val().transpose()); // [rows, d_in_proj]
        let inputs = [
            zxbcdt.into_dispatch(),
            self.conv.weight.val().into_dispatch(),
            self.conv.bias.val().into_dispatch(),
            self.dt_bias.val().into_dispatch(),
            self.a_log.val().into_dispatch(),
            self.d.val().into_dispatch(),
            self.norm.weight.val().into_dispatch(),
        ];
        let (y, saved) = host::apply(ssm, inputs); // [rows, d_inner]
        let y = Tensor::<2>::from_dispatch(y).matmul(self.out_proj.weight.val().transpose());
        (y, saved.memory.clone())
    }
}

impl Moe {
    /// # Shapes
    /// `u [rows, d_model]`, the result alike; router logits `[rows, n_experts]`.
    fn forward(
        &self,
        config: &ModelConfig,
        u: Tensor<2>,
    ) -> (Tensor<2>, Option<(Tensor<2>, Tensor<1>)>) {
        let [rows, d_model] = u.dims();
        let router = self
            .router
            .as_ref()
            .map(|r| u.clone().matmul(r.weight.val().transpose()));
        let logits = match &router {
            Some(logits) => logits.clone(),
            None => Tensor::zeros([rows, 1], &u.device()),
        };
        let op = Experts {
            n_experts: config.n_experts,
            top_k: config.top_k,
            routing: config.routing,
            d_model,
            d_expert: config.d_expert,
        };
        let (w_in, w_out) = (self.w_in.val(), self.w_out.val());
        let (y, visits) = expert(
            op,
            u.clone(),
            logits,
            w_in.into_dispatch(),
            w_out.into_dispatch(),
        );
        let y = match &self.shared {
            Some(shared) => y + shared.forward(config, u),
            None => y,
        };
        let visits = Tensor::from_data(TensorData::from(visits.as_slice()), &y.device());
        (y, router.map(|logits| (logits, visits)))
    }
}

impl Shared {
    /// A mixture of one expert.
    fn forward(&self, config: &ModelConfig, u: Tensor<2>) -> Tensor<2> {
        let [rows, d_model] = u.dims();
        let op = Experts::single(d_model, config.d_shared);
        let logits = Tensor::zeros([rows, 1], &u.device());
        let (w_in, w_out) = (self.w_in.val(), self.w_out.val());
        expert(op, u, logits, w_in.into_dispatch(), w_out.into_dispatch()).0
    }
}

fn expert(
    op: Experts,
    u: Tensor<2>,
    logits: Tensor<2>,
    w_in: burn::backend::DispatchTensor,
    w_out: burn::backend::DispatchTensor,
) -> (Tensor<2>, Vec<f32>) {
    let inputs = [u.into_dispatch(), logits.into_dispatch(), w_in, w_out];
    let (y, routed) = host::apply(op, inputs);
    (Tensor::from_dispatch(y), routed.visits())
}

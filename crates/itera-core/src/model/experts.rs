//! The mixture of experts: each token visits its `top_k` experts and, where there is one, the
//! shared expert. Experts that no token has chosen are not touched.

use super::{
    Model, Workspace,
    observe::{Observer, Site},
    weights::Expert,
};
use crate::kernels::{Inputs, Kernel, WIDTH};

/// `work.x += sum_e p_e expert_e(work.u)` for `rows` tokens, the sum over the `top_k` experts with the
/// largest router logits, and `p` the softmax of those over all or over the chosen experts
/// ([`Routing`](crate::config::Routing)).
///
/// The tokens of an expert are computed together. They are added expert by expert, in the same
/// order for every token, so that no result depends on what else is in the batch.
pub(super) fn forward(
    model: &Model,
    index: usize,
    rows: usize,
    work: &mut Workspace,
    observer: &mut impl Observer,
) {
    let (k, layer, stride) = (model.kernel, &model.layers[index], model.stride());
    let u = &work.u[..rows * stride];
    let router = layer.router.as_deref();
    k.route(router, u, model.config.d_model, stride, &mut work.routes);
    k.quantize(&layer.experts[0].w_in, u, stride, &mut work.quantized);
    for (e, expert) in layer.experts.iter().enumerate() {
        let visits = work.routes.tokens(e).len();
        if visits > 0 {
            let sites = [Site::ExpertIn(index, e), Site::ExpertOut(index, e)];
            run(k, expert, Some(e), rows, visits, sites, work, observer);
        }
    }
    if let Some(shared) = &layer.shared {
        k.quantize(
            &shared.w_in,
            &work.u[..rows * stride],
            stride,
            &mut work.quantized,
        );
        let sites = [Site::SharedIn(index), Site::SharedOut(index)];
        run(k, shared, None, rows, rows, sites, work, observer);
    }
}

/// `x += p * w_out (silu(gate) * up)` with `[gate; up] = w_in u`, for the tokens routed to an
/// expert, or for all tokens with `p = 1`.
fn run(
    k: Kernel,
    expert: &Expert,
    routed: Option<usize>,
    rows: usize,
    visits: usize,
    sites: [Site; 2],
    work: &mut Workspace,
    observer: &mut impl Observer,
) {
    let (stride, hidden_stride) = (expert.w_out.stride(), expert.w_in.stride());
    let width = expert.w_out.cols();
    let active_stride = width.next_multiple_of(WIDTH);
    let hidden = &mut work.hidden[..visits * hidden_stride];
    let active = &mut work.active[..visits * active_stride];
    let out = &mut work.out[..visits * stride];

    let inputs = Inputs {
        floats: &work.u[..rows * stride],
        stride,
        integers: &work.quantized,
        chosen: routed.map(|e| work.routes.tokens(e)),
    };
    observer.see(sites[0], inputs.floats, stride, inputs.chosen);
    k.multiply(&expert.w_in, inputs, hidden);
    k.swiglu(hidden, hidden_stride, width, active, active_stride);
    observer.see(sites[1], active, active_stride, None);
    k.quantize(&expert.w_out, active, active_stride, &mut work.inner);
    let inputs = Inputs {
        floats: active,
        stride: active_stride,
        integers: &work.inner,
        chosen: None,
    };
    k.multiply(&expert.w_out, inputs, out);
    match routed {
        Some(e) => {
            let visits = work.routes.tokens(e).iter().zip(work.routes.weights(e));
            for ((&token, &p), out) in visits.zip(out.chunks_exact(stride)) {
                k.add_scaled(p, out, &mut work.x[token as usize * stride..][..stride]);
            }
        }
        None => k.add_scaled(1.0, out, &mut work.x[..rows * stride]),
    }
}

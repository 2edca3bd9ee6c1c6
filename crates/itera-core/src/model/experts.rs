//! The mixture of experts: each token visits its `top_k` experts and, where there is one, the
//! shared expert. Experts that no token has chosen are not touched.

use super::{
    Model, Workspace,
    observe::{Observer, Site},
    weights::Expert,
};
use crate::kernels::{AddScaled, Product, Quantize, Route, SwiGlu};

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
    let (k, layer) = (model.kernel, &model.layers[index]);
    k.run(Route {
        router: layer.router.as_deref(),
        u: work.u.rows(0, rows),
        routes: &mut work.routes,
    });
    quantize(model, &layer.experts[0], rows, work);
    for (e, expert) in layer.experts.iter().enumerate() {
        if !work.routes.tokens(e).is_empty() {
            let sites = [Site::ExpertIn(index, e), Site::ExpertOut(index, e)];
            run(model, expert, Some(e), rows, sites, work, observer);
        }
    }
    if let Some(shared) = &layer.shared {
        quantize(model, shared, rows, work);
        let sites = [Site::SharedIn(index), Site::SharedOut(index)];
        run(model, shared, None, rows, sites, work, observer);
    }
}

/// The integers of `work.u` for the input matrix of an expert, the same for all experts of its kind.
fn quantize(model: &Model, expert: &Expert, rows: usize, work: &mut Workspace) {
    model.kernel.run(Quantize {
        matrix: &expert.w_in,
        x: work.u.rows(0, rows),
        to: &mut work.quantized,
    });
}

/// `x += p * w_out (silu(gate) * up)` with `[gate; up] = w_in u`, for the tokens routed to an
/// expert, or for all tokens with `p = 1`.
fn run(
    model: &Model,
    expert: &Expert,
    routed: Option<usize>,
    rows: usize,
    sites: [Site; 2],
    work: &mut Workspace,
    observer: &mut impl Observer,
) {
    let (k, u) = (model.kernel, work.u.rows(0, rows));
    let chosen = routed.map(|e| work.routes.tokens(e));
    let visits = chosen.map_or(rows, <[u32]>::len);
    // [gate; up] = W_in u
    observer.see(sites[0], u, chosen);
    k.multiply(Product {
        matrix: &expert.w_in,
        x: u,
        integers: &work.quantized,
        chosen,
        out: work.hidden.rows_mut(0, visits),
    });
    k.run(SwiGlu {
        hidden: work.hidden.rows(0, visits),
        width: expert.w_out.cols(),
        out: work.active.rows_mut(0, visits),
    });
    // W_out (silu(gate) * up)
    let active = work.active.rows(0, visits);
    observer.see(sites[1], active, None);
    let out = work.out.rows_mut(0, visits);
    k.project(&expert.w_out, active, &mut work.inner, out);
    let Some(e) = routed else {
        return work.add_out(k, rows);
    };
    let visits = work.routes.tokens(e).iter().zip(work.routes.weights(e));
    for ((&token, &weight), x) in visits.zip(work.out.iter()) {
        let to = work.x.row_mut(token as usize);
        k.run(AddScaled { weight, x, to });
    }
}

//! The SSD mixer (Mamba-2).

use super::{
    Model, Sequence, Workspace,
    observe::{Observer, Site},
    state::Span,
};
use crate::kernels::{Convolve, GatedNorm, Recurrence, StepSizes};

/// `work.x += mixer(work.u)` for the rows of the plan; the states of the sequences move on.
pub(super) fn forward(
    model: &Model,
    index: usize,
    rows: usize,
    sequences: &mut [Sequence<'_>],
    work: &mut Workspace,
    observer: &mut impl Observer,
) {
    let (k, layer) = (model.kernel, &model.layers[index]);
    // [z, x, B, C, dt] = W_in u
    let (u, zxbcdt) = (work.u.rows(0, rows), work.zxbcdt.rows_mut(0, rows));
    observer.see(Site::InProj(index), u, None);
    k.project(&layer.in_proj, u, &mut work.quantized, zxbcdt);
    for at in 0..work.spans.len() {
        let span = work.spans[at];
        state_space(model, index, span, &mut sequences[span.sequence], work);
    }
    // y = norm(y * silu(z)), the paper's gated norm
    k.run(GatedNorm {
        z: work.zxbcdt.rows(0, rows),
        gain: &layer.norm,
        eps: model.config.norm_eps,
        y: work.y.rows_mut(0, rows),
    });
    // x += W_out y
    let (y, out) = (work.y.rows(0, rows), work.out.rows_mut(0, rows));
    observer.see(Site::OutProj(index), y, None);
    k.project(&layer.out_proj, y, &mut work.quantized, out);
    work.add_out(k, rows);
}

/// Convolution and recurrence of one sequence: `work.y` from the x, B, C, dt in `work.zxbcdt`.
fn state_space(
    model: &Model,
    index: usize,
    span: Span,
    sequence: &mut Sequence<'_>,
    work: &mut Workspace,
) {
    let (k, config, layer) = (model.kernel, &model.config, &model.layers[index]);
    let memory = &mut sequence.state().layers[index];
    let Span { start, len, .. } = span;
    let xbcdt = work.zxbcdt.rows(start, len).columns(config.d_inner);
    // x, B, C = silu(conv(x, B, C) + bias)
    k.run(Convolve {
        x: xbcdt,
        taps: &layer.conv_weight,
        bias: &layer.conv_bias,
        memory: &mut memory.conv,
        out: work.xbc.rows_mut(start, len),
    });
    // dt = softplus(dt + bias), decay = exp(dt A)
    k.run(StepSizes {
        raw: xbcdt.columns(config.d_conv_channels()),
        bias: &layer.dt_bias,
        a: &layer.a,
        dt: work.dt.rows_mut(start, len),
        decay: work.decay.rows_mut(start, len),
    });
    // h = decay h + dt B x^T, y = C^T h + D x
    k.run(Recurrence {
        xbc: work.xbc.rows(start, len),
        dt: work.dt.rows(start, len),
        decay: work.decay.rows(start, len),
        d: &layer.d,
        h: &mut memory.h,
        y: work.y.rows_mut(start, len),
    });
}

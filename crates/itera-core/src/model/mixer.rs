//! The SSD mixer (Mamba-2).

use super::{
    Model, Sequence, Workspace,
    observe::{Observer, Site},
    state::Span,
    weights::Layer,
};
use crate::kernels::{Inputs, Recurrence, WIDTH};

/// `work.x += mixer(work.u)` for the rows of the plan; the states of the sequences move on.
pub(super) fn forward(
    model: &Model,
    index: usize,
    rows: usize,
    sequences: &mut [Sequence<'_>],
    work: &mut Workspace,
    observer: &mut impl Observer,
) {
    let (k, layer, stride) = (model.kernel, &model.layers[index], model.stride());
    let (d_in_proj, d_inner) = (layer.in_proj.stride(), layer.out_proj.cols());
    let y_stride = d_inner.next_multiple_of(WIDTH);
    // [z, x, B, C, dt] = W_in u
    let u = &work.u[..rows * stride];
    observer.see(Site::InProj(index), u, stride, None);
    k.quantize(&layer.in_proj, u, stride, &mut work.quantized);
    let inputs = Inputs {
        floats: u,
        stride,
        integers: &work.quantized,
        chosen: None,
    };
    k.multiply(&layer.in_proj, inputs, &mut work.zxbcdt[..rows * d_in_proj]);
    for at in 0..work.spans.len() {
        let span = work.spans[at];
        recur(model, index, span, &mut sequences[span.sequence], work);
    }
    // y = norm(y * silu(z)), the paper's gated norm
    let y = &mut work.y[..rows * y_stride];
    let z = &work.zxbcdt[..rows * d_in_proj];
    k.gated_norm(
        y,
        y_stride,
        z,
        d_in_proj,
        &layer.norm,
        model.config.norm_eps,
    );
    // x += W_out y
    observer.see(Site::OutProj(index), y, y_stride, None);
    k.quantize(&layer.out_proj, y, y_stride, &mut work.quantized);
    let inputs = Inputs {
        floats: y,
        stride: y_stride,
        integers: &work.quantized,
        chosen: None,
    };
    k.multiply(&layer.out_proj, inputs, &mut work.out[..rows * stride]);
    k.add_scaled(
        1.0,
        &work.out[..rows * stride],
        &mut work.x[..rows * stride],
    );
}

/// Convolution and recurrence of one sequence: `work.y` from the x, B, C, dt in `work.zxbcdt`.
fn recur(
    model: &Model,
    index: usize,
    span: Span,
    sequence: &mut Sequence<'_>,
    work: &mut Workspace,
) {
    let (k, config, layer): (_, _, &Layer) = (model.kernel, &model.config, &model.layers[index]);
    let memory = &mut sequence.state().layers[index];
    let (d_inner, heads, channels) = (config.d_inner, config.n_heads(), config.d_conv_channels());
    let (in_stride, xbc_stride) = (layer.in_proj.stride(), channels.next_multiple_of(WIDTH));
    let y_stride = d_inner.next_multiple_of(WIDTH);
    let rows = |stride: usize| span.start * stride..(span.start + span.len) * stride;

    let zxbcdt = &work.zxbcdt[rows(in_stride)];
    let xbc = &mut work.xbc[rows(xbc_stride)];
    let (taps, bias) = (&layer.conv_weight, &layer.conv_bias);
    let inputs = &zxbcdt[d_inner..];
    k.convolve(
        inputs,
        in_stride,
        taps,
        bias,
        &mut memory.conv,
        xbc,
        xbc_stride,
    );
    let (dt, decay) = (&mut work.dt[rows(heads)], &mut work.decay[rows(heads)]);
    let raw = &zxbcdt[config.d_in_proj() - heads..];
    k.step_sizes(raw, in_stride, &layer.dt_bias, &layer.a, dt, decay);
    k.recur(Recurrence {
        d_inner,
        d_state: config.d_state,
        xbc,
        stride: xbc_stride,
        dt,
        decay,
        a: &layer.a,
        d: &layer.d,
        h: &mut memory.h,
        y: &mut work.y[rows(y_stride)],
        y_stride,
    });
}

#include "itera.h"

#include <string.h>

/* Every operation rounds on its own, to nearest, as IEEE 754 says: then the logits are those of the native engine to
   the last bit. GCC knows no pragma for this: compile with -ffp-contract=off. */
#if defined(__clang__) || !defined(__GNUC__)
#pragma STDC FP_CONTRACT OFF
#endif
#ifdef __FAST_MATH__
#error "compile without -ffast-math: results would differ from those of the native engine"
#endif
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0
#error "floats must be computed as floats; on x86 compile with -msse2 -mfpmath=sse"
#endif

enum {
    VOCAB_SIZE = ITERA_VOCAB_SIZE,
    D_MODEL = ITERA_D_MODEL,
    N_LAYERS = ITERA_N_LAYERS,
    D_INNER = ITERA_D_INNER,
    D_STATE = ITERA_D_STATE,
    N_HEADS = ITERA_N_HEADS,
    HEAD_DIM = ITERA_D_INNER / ITERA_N_HEADS,
    D_CONV = ITERA_D_CONV,
    MEMORY = ITERA_MEMORY,
    CHANNELS = ITERA_CHANNELS,
    N_EXPERTS = ITERA_N_EXPERTS,
    TOP_K = ITERA_TOP_K,
    D_EXPERT = ITERA_D_EXPERT,
    D_SHARED = ITERA_D_SHARED,
    CHOSEN_SUM_TO_ONE = ITERA_CHOSEN_SUM_TO_ONE
};

/* The sizes that the header promises. */
typedef char state_bytes[sizeof(itera_state) == ITERA_STATE_BYTES ? 1 : -1];

/* ---- Weights ---- */

/* How the values of a tensor lie in flash. */
typedef enum {
    FLOATS, /* float */
    HALVES, /* IEEE half precision */
    INT8,   /* int8_t, a half as scale for each group */
    INT4    /* two in a byte, the first in the low half, each plus 8; scales as for INT8 */
} kind;

/* A tensor as rows of `cols` values. */
typedef struct {
    kind kind;
    uint32_t cols;
    uint32_t group; /* neighbours in a row that share a scale */
    const void *values;
    const uint16_t *scales;
} tensor;

/* One block: mixer and mixture of experts. */
typedef struct {
    tensor mixer_norm;                      /* [d_model] */
    tensor in_proj;                         /* [d_in_proj, d_model]: z, x, B, C, dt */
    tensor taps;                            /* [channels, d_conv], oldest first */
    tensor conv_bias;                       /* [channels] */
    tensor dt_bias, a, d;                   /* [n_heads] */
    tensor norm;                            /* [d_inner] */
    tensor out_proj;                        /* [d_model, d_inner] */
    tensor moe_norm;                        /* [d_model] */
    tensor router;                          /* [n_experts, d_model] */
    tensor w_in, w_out;                     /* [n_experts * 2 d_expert, d_model], [n_experts * d_model, d_expert] */
    tensor shared_in, shared_out;           /* [2 d_shared, d_model], [d_model, d_shared] */
} block;

/* Defined at the end of this file. */
static const tensor embedding; /* [vocab_size, d_model], also the output head */
static const block blocks[N_LAYERS];
static const tensor final_norm; /* [d_model] */

/* ---- Numbers ---- */

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint64_t double_bits_of(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static double double_of(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static int is_finite(float x)
{
    return (bits_of(x) & 0x7f800000u) != 0x7f800000u;
}

/* The value of IEEE half precision, exactly. */
static float half(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000u) << 16, magnitude = bits & 0x7fffu;
    if (magnitude >= 0x0400u) {
        return float_of(sign | ((magnitude << 13) + 0x38000000u));
    }
    /* Below the normal halves: a multiple of 2^-24. */
    return (sign ? -1.0f : 1.0f) * ((float)magnitude * 5.9604644775390625e-8f);
}

/* Value `i` of a tensor of FLOATS or HALVES. */
static float value(const tensor *t, size_t i)
{
    return t->kind == HALVES ? half(((const uint16_t *)t->values)[i]) : ((const float *)t->values)[i];
}

/* 1.5 * 2^23: added to a magnitude below 2^22 it leaves the nearest integer, ties to even, in the low bits. */
#define ROUND 12582912.0f

static int32_t nearest(float x)
{
    return (int32_t)(bits_of(x + ROUND) & 0x7fffffu) - 0x400000;
}

/* sqrt(x) of a positive number, rounded to nearest: one bit of the root after the other. */
static float square_root(float x)
{
    uint32_t bits = bits_of(x), rest, root = 0, twice = 0, bit;
    int32_t exponent = (int32_t)(bits >> 23) - 127;
    if (bits == 0 || bits >= 0x7f800000u) {
        return x; /* 0, infinity, NaN; nothing here is negative */
    }
    rest = bits & 0x7fffffu;
    if (exponent == -127) {
        exponent = -126;
        while (!(rest & 0x800000u)) {
            rest <<= 1;
            exponent -= 1;
        }
    }
    rest |= 0x800000u;
    if (exponent & 1) {
        rest <<= 1;
        exponent -= 1;
    }
    rest <<= 1;
    /* 25 bits: the last decides how the others are rounded, and is never a tie. */
    for (bit = 0x1000000u; bit != 0; bit >>= 1) {
        if (twice + bit <= rest) {
            rest -= twice + bit;
            twice += 2 * bit;
            root += bit;
        }
        rest <<= 1;
    }
    root += root & 1u;
    return float_of((root >> 1) + ((uint32_t)(exponent / 2 + 126) << 23));
}

/* e^x, the input clamped to -87 and 88: x = n ln 2 + r with |r| <= ln(2) / 2, and e^r by the polynomial of Cephes. */
static float exponential(float x)
{
    float n, r, p;
    uint32_t power;
    x = 88.0f < x ? 88.0f : x;
    x = -87.0f > x ? -87.0f : x;
    n = x * 1.44269504f + ROUND;
    power = bits_of(n) - bits_of(ROUND) + 127;
    n -= ROUND;
    r = n * -0.6933594f + x;
    r = n * 2.1219444e-4f + r;
    p = 1.9875691e-4f;
    p = p * r + 1.3982e-3f;
    p = p * r + 8.333452e-3f;
    p = p * r + 4.1665796e-2f;
    p = p * r + 1.6666665e-1f;
    p = p * r + 5e-1f;
    p = p * (r * r) + (r + 1.0f);
    return p * float_of(power << 23);
}

/* silu(x) = x / (1 + e^-x). */
static float silu(float x)
{
    return x * (1.0f / (1.0f + exponential(0.0f - x)));
}

/* ln(1 + e^x) = max(x, 0) + ln(1 + e) with e = e^-|x|, and ln(1 + e) = 2 artanh(s) with s = e / (2 + e), by the first
   nine terms of its series. */
static float softplus(float x)
{
    static const float odd[] = {
        1.0f / 15.0f, 1.0f / 13.0f, 1.0f / 11.0f, 1.0f / 9.0f, 1.0f / 7.0f, 1.0f / 5.0f, 1.0f / 3.0f, 1.0f
    };
    float e = exponential(x < 0.0f - x ? x : 0.0f - x), s = e / (2.0f + e), square = s * s, series = 1.0f / 17.0f;
    size_t i;
    for (i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        series = series * square + odd[i];
    }
    return (x > 0.0f ? x : 0.0f) + (s + s) * series;
}

/* Products are summed in sixteen lanes, and these by halves. */
static float sum_of_lanes(float lanes[16])
{
    size_t n, i;
    for (n = 8; n > 0; n /= 2) {
        for (i = 0; i < n; i++) {
            lanes[i] += lanes[i + n];
        }
    }
    return lanes[0];
}

/* ln 2 in two parts. */
#define LN_2_HIGH 6.93147180369123816490e-01
#define LN_2_LOW 1.90821492927058770002e-10

/* e^x, 0 below -708 and for NaN: as `exponential`, with Taylor's polynomial. */
static double exponential_of_double(double x)
{
    static const double inverse_factorials[] = {
        1.0, 1.0, 1.0 / 2.0, 1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0, 1.0 / 720.0, 1.0 / 5040.0, 1.0 / 40320.0,
        1.0 / 362880.0, 1.0 / 3628800.0, 1.0 / 39916800.0, 1.0 / 479001600.0, 1.0 / 6227020800.0
    };
    const double round = 6755399441055744.0;
    double shifted, k, r, p = 0.0;
    size_t n;
    if (!(x >= -708.0)) {
        return 0.0;
    }
    shifted = x * 1.44269504088896340736 + round;
    k = shifted - round;
    r = (x - k * LN_2_HIGH) - k * LN_2_LOW;
    for (n = sizeof inverse_factorials / sizeof inverse_factorials[0]; n-- > 0;) {
        p = p * r + inverse_factorials[n];
    }
    return p * double_of((double_bits_of(shifted) + 1023) << 52);
}

/* ln(x) of a normal number above 0, else NaN: x = 2^k m with m from sqrt(1/2) to sqrt(2), and ln(m) = 2 artanh(s) with
   s = (m - 1) / (m + 1). */
static double logarithm_of_double(double x)
{
    static const double inverse_odd[] = {
        1.0, 1.0 / 3.0, 1.0 / 5.0, 1.0 / 7.0, 1.0 / 9.0, 1.0 / 11.0, 1.0 / 13.0, 1.0 / 15.0, 1.0 / 17.0, 1.0 / 19.0,
        1.0 / 21.0
    };
    const uint64_t least = UINT64_C(0x3fe6a09e667f3bcd); /* sqrt(1/2) */
    uint64_t bits = double_bits_of(x);
    int32_t exponent;
    double k, m, s, square, series = 0.0;
    size_t n;
    if (bits < UINT64_C(0x0010000000000000) || bits >= UINT64_C(0x7ff0000000000000)) {
        return double_of(UINT64_C(0x7ff8000000000000));
    }
    exponent = (int32_t)((bits - least + (UINT64_C(1024) << 52)) >> 52) - 1024;
    m = double_of(bits - ((uint64_t)(int64_t)exponent << 52));
    s = (m - 1.0) / (m + 1.0);
    square = s * s;
    for (n = sizeof inverse_odd / sizeof inverse_odd[0]; n-- > 0;) {
        series = series * square + inverse_odd[n];
    }
    k = (double)exponent;
    return k * LN_2_HIGH + (2.0 * s * series + k * LN_2_LOW);
}

/* ---- Products ---- */

/* Makes the integers that a product with `w` reads. In each group the scale is a 127th of the largest magnitude. An
   input that is not finite makes every output NaN. */
static void quantize(const tensor *w, const float *x, itera_integers *to)
{
    size_t first, i, g = 0;
    int all_finite = 1;
    if (w->kind != INT8 && w->kind != INT4) {
        return;
    }
    for (first = 0; first < w->cols; first += w->group, g++) {
        float largest = 0.0f, inverse = 0.0f;
        int32_t sum = 0;
        for (i = first; i < first + w->group; i++) {
            float magnitude = x[i] < 0.0f ? -x[i] : x[i];
            largest = magnitude > largest ? magnitude : largest;
            all_finite &= is_finite(x[i]);
        }
        /* The inverse of a smaller one would overflow. */
        to->scales[g] = 0.0f;
        if (largest >= 1e-30f) {
            inverse = 127.0f / largest;
            to->scales[g] = largest * (1.0f / 127.0f);
        }
        for (i = first; i < first + w->group; i++) {
            int32_t code = all_finite ? nearest(x[i] * inverse) : 0;
            to->codes[i] = (int8_t)code;
            sum += code;
        }
        to->sums[g] = sum;
    }
    if (!all_finite) {
        to->scales[0] = float_of(0x7fc00000u);
    }
}

/* The exact sum of the products of a group. */
static int32_t dot(const tensor *w, size_t first, size_t g, const itera_integers *x)
{
    const int8_t *codes = x->codes + g * w->group;
    int32_t sum = 0;
    size_t i;
    if (w->kind == INT8) {
        const int8_t *values = (const int8_t *)w->values + first;
        for (i = 0; i < w->group; i++) {
            sum += values[i] * codes[i];
        }
        return sum;
    } else {
        const uint8_t *values = (const uint8_t *)w->values + first / 2;
        for (i = 0; i < w->group; i += 2) {
            uint8_t both = *values++;
            sum += (both & 15) * codes[i] + (both >> 4) * codes[i + 1];
        }
        return sum - 8 * x->sums[g];
    }
}

/* out = W x for `rows` rows of `w` from `first` on: over the groups, in order, the sum of
   dot(w, x) * scale_x * scale_w. `integers` is what `quantize` made of `x`. */
static void multiply(
    const tensor *w, size_t first, size_t rows, const float *x, const itera_integers *integers, float *out)
{
    size_t row, i, g;
    for (row = 0; row < rows; row++) {
        size_t at = (first + row) * w->cols;
        float sum = 0.0f;
        if (w->kind == INT8 || w->kind == INT4) {
            for (g = 0; g < w->cols / w->group; g++) {
                float scaled = (float)dot(w, at + g * w->group, g, integers) * integers->scales[g];
                sum = scaled * half(w->scales[at / w->group + g]) + sum;
            }
        } else {
            for (i = 0; i < w->cols; i++) {
                sum = value(w, at + i) * x[i] + sum;
            }
        }
        out[row] = sum;
    }
}

/* out = row `row` of `w`. */
static void read_row(const tensor *w, size_t row, float *out)
{
    size_t i;
    for (i = 0; i < w->cols; i++) {
        size_t at = row * w->cols + i;
        if (w->kind == INT8) {
            out[i] = (float)((const int8_t *)w->values)[at] * half(w->scales[at / w->group]);
        } else if (w->kind == INT4) {
            uint8_t both = ((const uint8_t *)w->values)[at / 2];
            int32_t code = (at % 2 ? both >> 4 : both & 15) - 8;
            out[i] = (float)code * half(w->scales[at / w->group]);
        } else {
            out[i] = value(w, at);
        }
    }
}

/* ---- The model ---- */

/* out = x / sqrt(mean(x^2) + eps) * gain (Zhang & Sennrich 2019). `out` may be `x`. */
static void norm(const float *x, size_t n, const tensor *gain, float *out)
{
    float squares[16] = {0}, scale;
    size_t i;
    for (i = 0; i < n; i++) {
        squares[i % 16] = x[i] * x[i] + squares[i % 16];
    }
    scale = 1.0f / square_root(sum_of_lanes(squares) / (float)n + ITERA_NORM_EPS);
    for (i = 0; i < n; i++) {
        out[i] = x[i] * scale * value(gain, i);
    }
}

/* out = silu(conv(x) + bias): causal and depthwise over the last `d_conv` tokens. */
static void convolve(const block *w, const float *x, float (*memory)[CHANNELS], float *out)
{
    size_t c, i;
    for (c = 0; c < CHANNELS; c++) {
        float sum = value(&w->conv_bias, c);
        for (i = 0; i + 1 < D_CONV; i++) {
            sum = value(&w->taps, c * D_CONV + i) * memory[i][c] + sum;
        }
        sum = value(&w->taps, c * D_CONV + D_CONV - 1) * x[c] + sum;
        out[c] = silu(sum);
    }
    memmove(memory, memory + 1, (MEMORY - 1) * sizeof memory[0]);
    memcpy(memory[MEMORY - 1], x, sizeof memory[0]);
}

/* h = decay h + dt B x^T, y = C^T h + D x, with dt = softplus(dt + bias) and decay = exp(dt A) (Dao & Gu 2024). */
static void recur(const block *w, const float *xbc, const float *raw_dt, float (*h)[D_INNER], float *y)
{
    const float *x = xbc, *b = xbc + D_INNER, *c = xbc + D_INNER + D_STATE;
    float dt = 0.0f, decay = 0.0f, d = 0.0f;
    size_t channel;
    for (channel = 0; channel < D_INNER; channel++) {
        size_t n = 0, head = channel / HEAD_DIM, i;
        float dt_x, sum;
        if (channel % HEAD_DIM == 0) {
            dt = softplus(raw_dt[head] + value(&w->dt_bias, head));
            decay = exponential(dt * value(&w->a, head));
            d = value(&w->d, head);
        }
        dt_x = dt * x[channel];
        sum = d * x[channel];
        while (n < D_STATE) {
            /* Eight rows are summed in two sums, as the native engine does it. */
            size_t rows = D_STATE - n >= 8 ? 8 : 1;
            float sums[2];
            sums[0] = sum;
            sums[1] = 0.0f;
            for (i = 0; i < rows; i++, n++) {
                float new_h = b[n] * dt_x + decay * h[n][channel];
                h[n][channel] = new_h;
                sums[i % 2] = c[n] * new_h + sums[i % 2];
            }
            sum = sums[0] + sums[1];
        }
        y[channel] = sum;
    }
}

/* x += mixer(u) (SSD, the mixer of Mamba-2). */
static void mix(const block *w, float (*h)[D_INNER], float (*memory)[CHANNELS], itera_scratch *s)
{
    const float *z = s->zxbcdt, *xbc = s->zxbcdt + D_INNER, *dt = s->zxbcdt + D_INNER + CHANNELS;
    size_t i;
    /* [z, x, B, C, dt] = W_in u */
    quantize(&w->in_proj, s->u, &s->outer);
    multiply(&w->in_proj, 0, ITERA_D_IN_PROJ, s->u, &s->outer, s->zxbcdt);
    convolve(w, xbc, memory, s->xbc);
    recur(w, s->xbc, dt, h, s->y);
    /* y = norm(y * silu(z)) */
    for (i = 0; i < D_INNER; i++) {
        s->y[i] = s->y[i] * silu(z[i]);
    }
    norm(s->y, D_INNER, &w->norm, s->y);
    /* x += W_out y */
    quantize(&w->out_proj, s->y, &s->outer);
    multiply(&w->out_proj, 0, D_MODEL, s->y, &s->outer, s->out);
    for (i = 0; i < D_MODEL; i++) {
        s->x[i] = s->out[i] + s->x[i];
    }
}

/* x += weight * w_out (silu(gate) * up) with [gate; up] = w_in u, for the expert `e` of `width`. */
static void visit(const tensor *w_in, const tensor *w_out, size_t e, size_t width, float weight, itera_scratch *s)
{
    size_t i;
    multiply(w_in, e * 2 * width, 2 * width, s->u, &s->outer, s->hidden);
    for (i = 0; i < width; i++) {
        s->active[i] = silu(s->hidden[i]) * s->hidden[width + i];
    }
    quantize(w_out, s->active, &s->inner);
    multiply(w_out, e * D_MODEL, D_MODEL, s->active, &s->inner, s->out);
    for (i = 0; i < D_MODEL; i++) {
        s->x[i] = weight * s->out[i] + s->x[i];
    }
}

/* p = softmax(W u); 1 where there is one expert. */
static void route(const tensor *router, const float *u, float *p)
{
    float largest, sum = 0.0f;
    size_t e, i;
    if (N_EXPERTS == 1) {
        p[0] = 1.0f;
        return;
    }
    for (e = 0; e < N_EXPERTS; e++) {
        float lanes[16] = {0};
        for (i = 0; i < D_MODEL; i++) {
            lanes[i % 16] = value(router, e * D_MODEL + i) * u[i] + lanes[i % 16];
        }
        p[e] = sum_of_lanes(lanes);
    }
    largest = p[0];
    for (e = 1; e < N_EXPERTS; e++) {
        largest = p[e] > largest || largest != largest ? p[e] : largest;
    }
    for (e = 0; e < N_EXPERTS; e++) {
        p[e] = exponential(p[e] - largest);
        sum += p[e];
    }
    for (e = 0; e < N_EXPERTS; e++) {
        p[e] /= sum;
    }
}

/* Whether expert `e` is one of the `top_k` most probable; ties go to the lower index. */
static int is_chosen(const float *p, size_t e)
{
    size_t rank = 0, other;
    for (other = 0; other < N_EXPERTS; other++) {
        rank += other < e ? p[other] >= p[e] : p[other] > p[e];
    }
    return rank < TOP_K;
}

/* x += sum_e p_e expert_e(u) over the chosen experts, and the shared expert where there is one. */
static void mix_experts(const block *w, itera_scratch *s)
{
    float of_chosen = 0.0f;
    size_t e;
    route(&w->router, s->u, s->probability);
    for (e = 0; e < N_EXPERTS; e++) {
        of_chosen += is_chosen(s->probability, e) ? s->probability[e] : 0.0f;
    }
    quantize(&w->w_in, s->u, &s->outer);
    for (e = 0; e < N_EXPERTS; e++) {
        if (is_chosen(s->probability, e)) {
            float weight = s->probability[e] / (CHOSEN_SUM_TO_ONE ? of_chosen : 1.0f);
            visit(&w->w_in, &w->w_out, e, D_EXPERT, weight, s);
        }
    }
    if (D_SHARED > 0) {
        quantize(&w->shared_in, s->u, &s->outer);
        visit(&w->shared_in, &w->shared_out, 0, D_SHARED, 1.0f, s);
    }
}

void itera_reset(itera_state *state)
{
    memset(state, 0, sizeof *state);
}

const float *itera_step(uint32_t token, itera_state *state, itera_scratch *s)
{
    size_t l;
    if (token >= VOCAB_SIZE) {
        return NULL;
    }
    read_row(&embedding, token, s->x);
    for (l = 0; l < N_LAYERS; l++) {
        /* x += mixer(norm(x)) */
        norm(s->x, D_MODEL, &blocks[l].mixer_norm, s->u);
        mix(&blocks[l], state->layer[l].h, state->layer[l].conv, s);
        /* x += experts(norm(x)) */
        norm(s->x, D_MODEL, &blocks[l].moe_norm, s->u);
        mix_experts(&blocks[l], s);
    }
    /* logits = E norm(x) */
    norm(s->x, D_MODEL, &final_norm, s->u);
    quantize(&embedding, s->u, &s->outer);
    multiply(&embedding, 0, VOCAB_SIZE, s->u, &s->outer, s->logits);
    return s->logits;
}

/* ---- Sampling and scoring ---- */

uint32_t itera_greedy(const float *logits)
{
    uint32_t best = 0, i;
    for (i = 1; i < VOCAB_SIZE; i++) {
        int best_is_nan = logits[best] != logits[best], is_nan = logits[i] != logits[i];
        if (logits[i] > logits[best] || (best_is_nan && !is_nan)) {
            best = i;
        }
    }
    return best;
}

int itera_seed(itera_sampler *sampler, float temperature, uint32_t top_k, float top_p, uint64_t seed)
{
    if (!(temperature >= 0.0f && is_finite(temperature) && top_p >= 0.0f && top_p <= 1.0f)) {
        return 1;
    }
    sampler->temperature = temperature;
    sampler->top_k = top_k;
    sampler->top_p = top_p;
    sampler->seed = seed;
    sampler->draws = 0;
    return 0;
}

static uint32_t rotate(uint32_t x, unsigned by)
{
    return x << by | x >> (32 - by);
}

/* Draw `index` of ChaCha8 (Bernstein 2008) with the key `seed`. */
static uint64_t random_bits(uint64_t seed, uint64_t index)
{
    /* Columns, then diagonals. */
    static const uint8_t quarters[8][4] = {
        {0, 4, 8, 12}, {1, 5, 9, 13}, {2, 6, 10, 14}, {3, 7, 11, 15},
        {0, 5, 10, 15}, {1, 6, 11, 12}, {2, 7, 8, 13}, {3, 4, 9, 14}
    };
    uint32_t begin[16] = {0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u}, x[16];
    size_t round, q, word = 2 * (size_t)(index % 8);
    begin[4] = (uint32_t)seed;
    begin[5] = (uint32_t)(seed >> 32);
    begin[12] = (uint32_t)(index / 8);
    begin[13] = (uint32_t)(index / 8 >> 32);
    memcpy(x, begin, sizeof x);
    for (round = 0; round < 8; round += 2) {
        for (q = 0; q < 8; q++) {
            uint32_t *a = &x[quarters[q][0]], *b = &x[quarters[q][1]], *c = &x[quarters[q][2]], *d = &x[quarters[q][3]];
            *a += *b;
            *d = rotate(*d ^ *a, 16);
            *c += *d;
            *b = rotate(*b ^ *c, 12);
            *a += *b;
            *d = rotate(*d ^ *a, 8);
            *c += *d;
            *b = rotate(*b ^ *c, 7);
        }
    }
    return (x[word] + begin[word]) | (uint64_t)(x[word + 1] + begin[word + 1]) << 32;
}

/* What is drawn from: tokens, all in the order of their ids or those of `order`, with weights that are probabilities
   but for a common factor. */
typedef struct {
    const float *logits;
    const uint16_t *order; /* NULL for all */
    size_t n;
    double max, inverse_temperature;
} choice;

static uint32_t token_at(const choice *from, size_t at)
{
    return from->order ? from->order[at] : (uint32_t)at;
}

static double weight_at(const choice *from, size_t at)
{
    double logit = (double)from->logits[token_at(from, at)];
    return exponential_of_double((logit - from->max) * from->inverse_temperature);
}

/* Fills `weights` with the weights from `first` on, 64 at most, and returns their sum: in sixteen sums, and these
   with the rest one after the other. */
static double sum_of_block(const choice *from, size_t first, size_t *n, double *weights)
{
    double sums[16] = {0.0}, sum = 0.0;
    size_t i;
    *n = from->n - first < 64 ? from->n - first : 64;
    for (i = 0; i < *n; i++) {
        weights[i] = weight_at(from, first + i);
    }
    for (i = 0; i < *n - *n % 16; i++) {
        sums[i % 16] += weights[i];
    }
    for (i = 0; i < 16; i++) {
        sum += sums[i];
    }
    for (i = *n - *n % 16; i < *n; i++) {
        sum += weights[i];
    }
    return sum;
}

/* Where `uniform`, in [0, 1), falls if each has a share in proportion to its weight. One without weight is never drawn,
   unless none has any. */
static size_t draw(const choice *from, double uniform, itera_sampler *sampler)
{
    double total = 0.0, rest;
    size_t first, n, i, chosen = 0;
    for (first = 0; first < from->n; first += 64) {
        sampler->sums[first / 64] = sum_of_block(from, first, &n, sampler->weights);
        total += sampler->sums[first / 64];
    }
    rest = uniform * total;
    for (first = 0; first < from->n; first += 64) {
        if (sampler->sums[first / 64] <= rest) {
            rest -= sampler->sums[first / 64];
            continue;
        }
        (void)sum_of_block(from, first, &n, sampler->weights);
        for (i = 0; i < n; i++) {
            if (sampler->weights[i] > 0.0) {
                chosen = first + i;
                rest -= sampler->weights[i];
                if (rest < 0.0) {
                    break;
                }
            }
        }
        return chosen;
    }
    /* Rounding has left something at the end. */
    for (i = from->n; i-- > 0;) {
        if (weight_at(from, i) > 0.0) {
            return i;
        }
    }
    return 0;
}

/* Whether token `a` comes before `b`: the more probable one first. */
static int is_before(const float *logits, uint16_t a, uint16_t b)
{
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
}

/* Lets the token at `at` sink in the heap of `n`, whose root comes first. */
static void sink(const float *logits, uint16_t *order, size_t at, size_t n)
{
    for (;;) {
        size_t child = 2 * at + 1;
        uint16_t token = order[at];
        if (child >= n) {
            return;
        }
        if (child + 1 < n && is_before(logits, order[child + 1], order[child])) {
            child += 1;
        }
        if (!is_before(logits, order[child], token)) {
            return;
        }
        order[at] = order[child];
        order[child] = token;
        at = child;
    }
}

/* Puts the `most` most probable tokens in order, all for 0, by heapsort; NaN has none. Returns their number. */
static size_t sort(const float *logits, uint16_t *order, size_t most)
{
    size_t n = 0, i;
    for (i = 0; i < VOCAB_SIZE; i++) {
        if (logits[i] == logits[i]) {
            order[n++] = (uint16_t)i;
        }
    }
    most = most == 0 || most > n ? n : most;
    for (i = n / 2; i-- > 0;) {
        sink(logits, order, i, n);
    }
    for (i = 0; i < most; i++) {
        uint16_t first = order[0];
        order[0] = order[n - 1 - i];
        order[n - 1 - i] = first;
        sink(logits, order, 0, n - 1 - i);
    }
    /* They are at the end, the first one last. */
    for (i = 0; i < n / 2; i++) {
        uint16_t token = order[i];
        order[i] = order[n - 1 - i];
        order[n - 1 - i] = token;
    }
    return most;
}

uint32_t itera_sample(itera_sampler *sampler, const float *logits)
{
    uint32_t greedy = itera_greedy(logits);
    choice from;
    double uniform;
    if (sampler->temperature == 0.0f || !is_finite(logits[greedy])) {
        return greedy;
    }
    from.logits = logits;
    from.order = NULL;
    from.n = VOCAB_SIZE;
    from.max = (double)logits[greedy];
    from.inverse_temperature = 1.0 / (double)sampler->temperature;
    uniform = (double)(random_bits(sampler->seed, sampler->draws++) >> 11) / 9007199254740992.0;
    if (sampler->top_k > 0 || sampler->top_p > 0.0f) {
        from.n = sort(logits, sampler->order, sampler->top_k);
        from.order = sampler->order;
    }
    if (sampler->top_p > 0.0f) {
        /* The fewest of the most probable whose probabilities sum to `top_p`. */
        double total = 0.0, below;
        size_t at;
        for (at = 0; at < from.n; at++) {
            total += weight_at(&from, at);
        }
        below = (double)sampler->top_p * total;
        for (at = 0; at < from.n; at++) {
            below -= weight_at(&from, at);
            if (below <= 0.0) {
                from.n = at + 1;
            }
        }
    }
    return token_at(&from, draw(&from, uniform, sampler));
}

double itera_nats(const float *logits, uint32_t token)
{
    size_t i, whole = VOCAB_SIZE - VOCAB_SIZE % 16;
    float lanes[16] = {0}, largest = logits[itera_greedy(logits)], rest = 0.0f, sum;
    for (i = 0; i < whole; i++) {
        lanes[i % 16] += exponential(logits[i] - largest);
    }
    for (i = whole; i < VOCAB_SIZE; i++) {
        rest += exponential(logits[i] - largest);
    }
    sum = sum_of_lanes(lanes) + rest;
    return ((double)largest + logarithm_of_double((double)sum)) - (double)logits[token];
}

double itera_score(uint32_t context, const uint16_t *tokens, size_t n, itera_state *state, itera_scratch *scratch)
{
    double nats = 0.0;
    size_t i;
    for (i = 0; i < n; i++) {
        const float *logits = itera_step(i == 0 ? context : tokens[i - 1], state, scratch);
        if (logits == NULL || tokens[i] >= VOCAB_SIZE) {
            return double_of(UINT64_C(0x7ff8000000000000));
        }
        nats += itera_nats(logits, tokens[i]);
    }
    return nats;
}

uint64_t itera_digest(size_t tokens, itera_state *state, itera_scratch *scratch)
{
    /* Knuth's multiplier for the tokens, FNV-1a over whole words for the digest. */
    uint64_t random = 0, digest = UINT64_C(0xcbf29ce484222325);
    size_t i;
    itera_reset(state);
    while (tokens-- > 0) {
        const float *logits;
        random = random * UINT64_C(6364136223846793005) + 1;
        logits = itera_step((uint32_t)((random >> 40) % VOCAB_SIZE), state, scratch);
        for (i = 0; i < VOCAB_SIZE; i++) {
            digest = (digest ^ bits_of(logits[i])) * UINT64_C(0x100000001b3);
        }
    }
    return digest;
}

/* ---- Tokenizer ---- */

/* TOKENIZER */

/* ---- The weights ---- */

/* WEIGHTS */

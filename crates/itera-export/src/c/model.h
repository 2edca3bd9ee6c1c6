#ifndef ITERA_H
#define ITERA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* SIZES */

/* Rows of a model without taps before the newest have no memory; C has no arrays without rows. */
#define ITERA_MEMORY (ITERA_D_CONV > 1 ? ITERA_D_CONV - 1 : 1)

/* All that the model remembers of the tokens that it has read. One for each text. */
typedef struct {
    struct {
        float h[ITERA_D_STATE][ITERA_D_INNER];
        float conv[ITERA_MEMORY][ITERA_CHANNELS]; /* oldest first */
    } layer[ITERA_N_LAYERS];
} itera_state;

/* Inputs of an integer product: x[k] is about codes[k] * scales[k / group]. */
typedef struct {
    int8_t codes[ITERA_WIDEST_INPUT];
    float scales[(ITERA_WIDEST_INPUT + 15) / 16];
    int32_t sums[(ITERA_WIDEST_INPUT + 15) / 16]; /* of the codes of each group */
} itera_integers;

/* The memory of a step; nothing in it is needed for the next one. */
typedef struct {
    float x[ITERA_D_MODEL];            /* residual stream */
    float u[ITERA_D_MODEL];            /* normalised input of a sub-layer */
    float zxbcdt[ITERA_D_IN_PROJ];     /* z, x, B, C, dt */
    float xbc[ITERA_CHANNELS];         /* x, B, C after the convolution */
    float y[ITERA_D_INNER];
    float out[ITERA_D_MODEL];          /* output of a product */
    float hidden[2 * ITERA_WIDEST_EXPERT];
    float active[ITERA_WIDEST_EXPERT];
    float probability[ITERA_N_EXPERTS];
    itera_integers outer, inner;       /* inputs of a sub-layer, and inside an expert */
    float logits[ITERA_VOCAB_SIZE];
} itera_scratch;

/* How tokens are drawn, and where the sequence of draws stands. */
typedef struct {
    float temperature;
    uint32_t top_k;
    float top_p;
    uint64_t seed;
    uint64_t draws;                    /* made so far */
    double sums[(ITERA_VOCAB_SIZE + 63) / 64];
    double weights[64];
    uint16_t order[ITERA_VOCAB_SIZE];
} itera_sampler;

/* Forgets every token. A state must be reset before its first step. */
void itera_reset(itera_state *state);

/* Reads a token and returns the logits of the next one, `[vocab_size]`, which lie in `scratch`; NULL if there is no
   such token. A text begins with ITERA_END_OF_TEXT. */
const float *itera_step(uint32_t token, itera_state *state, itera_scratch *scratch);

/* The most probable token. Ties go to the lower id; NaN is never chosen. */
uint32_t itera_greedy(const float *logits);

/* Begins a sequence of draws. `temperature` 0 is greedy, `top_k` 0 and `top_p` 0 are off. Equal settings and an equal
   seed give the tokens that the native engine gives. Returns 0, or 1 if a setting is out of its range. */
int itera_seed(itera_sampler *sampler, float temperature, uint32_t top_k, float top_p, uint64_t seed);

/* Draws the next token. */
uint32_t itera_sample(itera_sampler *sampler, const float *logits);

/* Negative log-likelihood in nats of `token` under `logits`. */
double itera_nats(const float *logits, uint32_t token);

/* The same of `tokens`, given `context` and all that `state` has read: the sum, in their order. NaN if there is no such
   token. */
double itera_score(uint32_t context, const uint16_t *tokens, size_t n, itera_state *state, itera_scratch *scratch);

/* The tokens of a text. There is room in `tokens` for as many as `text` has bytes. Returns their number, or
   ITERA_NOT_UTF8 where the tokenizer takes characters and `text` is not valid UTF-8. */
size_t itera_encode(const uint8_t *text, size_t n, uint16_t *tokens);
#define ITERA_NOT_UTF8 ((size_t)-1)

/* The bytes of a token; there is room in `text` for ITERA_TOKEN_BYTES. Returns their number, 0 for end-of-text. */
size_t itera_decode(uint32_t token, uint8_t *text);

/* Reads so many made-up tokens from a fresh state and returns a digest of the bits of all logits. It is
   ITERA_DIGEST_n if this machine and compiler compute what the native engine computes. */
uint64_t itera_digest(size_t tokens, itera_state *state, itera_scratch *scratch);

#ifdef __cplusplus
}
#endif

#endif

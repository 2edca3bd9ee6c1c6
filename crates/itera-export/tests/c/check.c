/* Prints digests of all that a model computes in C, for comparison with the native engine.

   -DTOKENS=n  tokens whose logits are compared
   -DDRAWN=n   tokens that are drawn with each setting, and scored

   Compiled with -DSEMIHOSTING it runs on a bare controller under an emulator. */
#include "model.c"

#ifdef SEMIHOSTING
#include "semihosting.h"
#else
#include <stdio.h>
static void say(const char *text)
{
    fputs(text, stdout);
}
#endif

static model_state state;
static model_scratch scratch;
static model_sampler sampler;

static uint64_t add(uint64_t digest, uint64_t word)
{
    return (digest ^ word) * UINT64_C(0x100000001b3);
}

static void print(const char *what, uint64_t digest)
{
    char line[20] = " 0x";
    size_t i;
    for (i = 0; i < 16; i++) {
        line[3 + i] = "0123456789abcdef"[digest >> (60 - 4 * i) & 15];
    }
    line[19] = 0;
    say(what);
    say(line);
    say("\n");
}

/* Draws a text, scores it and reads it back from its bytes. */
static uint64_t drawn(float temperature, uint32_t top_k, float top_p, uint64_t seed)
{
    static uint16_t tokens[DRAWN + 1];
    uint64_t digest = 0, score;
    double nats;
    size_t i;
    model_reset(&state);
    digest = add(digest, (uint64_t)model_seed(&sampler, temperature, top_k, top_p, seed));
    tokens[0] = MODEL_END_OF_TEXT;
    for (i = 0; i < DRAWN; i++) {
        const float *logits = model_step(tokens[i], &state, &scratch);
        tokens[i + 1] = (uint16_t)model_sample(&sampler, logits);
        digest = add(digest, tokens[i + 1]);
    }
    model_reset(&state);
    nats = model_score(tokens[0], tokens + 1, DRAWN, &state, &scratch);
    memcpy(&score, &nats, sizeof score);
    return add(digest, score);
}

int main(void)
{
    uint64_t digest = 0;
    uint32_t i;
    print("logits", model_digest(TOKENS, &state, &scratch));
    print("drawn", drawn(1.0f, 0, 0.0f, 1));
    print("drawn of 40", drawn(0.8f, 40, 0.0f, UINT64_C(0x123456789abcdef0)));
    print("drawn of 0.9", drawn(1.2f, 0, 0.9f, 3));
    print("drawn of 50 and 0.5", drawn(2.0f, 50, 0.5f, 4));
    print("greedy", drawn(0.0f, 0, 0.0f, 5));
    for (i = 1; i < 0x7f800000u; i += 0x7f800000u / 100000) {
        float root = square_root(float_of(i));
        digest = add(digest, bits_of(root));
    }
    print("square roots", digest);
#ifdef SEMIHOSTING
    finish();
#endif
    return 0;
}

/* Writes a story, and says how many instructions a token took: the emulator, with -icount shift=0, takes a
   nanosecond for each, so that a tick of its 25 MHz counter is 40 instructions. */
#include <stdint.h>
#include <string.h>

#include "model.h"
#include "semihosting.h"

#ifndef TOKENS
#define TOKENS 100
#endif

#define INSTRUCTIONS_PER_TICK 40

static model_state state;
static model_scratch scratch;
static model_sampler sampler;

/* The 24-bit counter of every Cortex-M, which counts down. */
static volatile uint32_t *const systick = (volatile uint32_t *)0xe000e010u;

static uint32_t ticks_since(uint32_t before)
{
    return (before - systick[2]) & 0xffffffu;
}

static void say_number(const char *what, uint64_t number)
{
    char digits[21];
    size_t at = sizeof digits - 1;
    digits[at] = 0;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    say(what);
    say(digits + at);
}

int main(void)
{
    static const char prompt[] = "Once upon a time";
    uint16_t tokens[sizeof prompt];
    uint64_t reading = 0, drawing = 0;
    uint32_t token = MODEL_END_OF_TEXT, written = 0, read = 0, drawn = 0, before;
    const float *logits;
    size_t n, i;

    systick[1] = 0xffffffu;
    systick[0] = 5;
    model_reset(&state);
    (void)model_seed(&sampler, 0.8f, 40, 0.0f, 1);
    n = model_encode((const uint8_t *)prompt, strlen(prompt), tokens);
    say(prompt);
    for (i = 0; written < TOKENS; i++) {
        before = systick[2];
        logits = model_step(token, &state, &scratch);
        reading += ticks_since(before);
        read += 1;
        if (i < n) {
            token = tokens[i];
            continue;
        }
        before = systick[2];
        token = model_sample(&sampler, logits);
        drawing += ticks_since(before);
        drawn += 1;
        if (token == MODEL_END_OF_TEXT) {
            break;
        }
        written += 1;
        {
            char text[MODEL_TOKEN_BYTES + 1];
            text[model_decode(token, (uint8_t *)text)] = 0;
            say(text);
        }
    }
    say("\n");
    say_number("tokens ", read);
    say_number("\ninstructions per step ", reading * INSTRUCTIONS_PER_TICK / read);
    say_number("\ninstructions per draw ", drawing * INSTRUCTIONS_PER_TICK / (drawn > 0 ? drawn : 1));
    say("\n");
    return 0;
}

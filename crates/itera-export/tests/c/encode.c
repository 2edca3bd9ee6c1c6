/* Reads text and writes its tokens in 16 bits each, low byte first; with an argument, the class of every character
   below that number instead. */
#include "model.c"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    static uint8_t text[1 << 20], decoded[1 << 20];
    static uint16_t tokens[1 << 20];
    size_t n, found, i, at = 0;
#ifdef CLASSES
    if (argc > 1) {
        uint32_t code, end = (uint32_t)strtoul(argv[1], NULL, 10);
        for (code = 0; code < end; code++) {
            putchar("LNSO"[class_of(code)]);
        }
        return 0;
    }
#endif
    (void)argc;
    (void)argv;
    n = fread(text, 1, sizeof text, stdin);
    found = model_encode(text, n, tokens);
    if (found == MODEL_NOT_UTF8) {
        fputs("not UTF-8", stdout);
        return 0;
    }
    for (i = 0; i < found; i++) {
        uint8_t bytes[MODEL_TOKEN_BYTES];
        size_t length = model_decode(tokens[i], bytes);
        memcpy(decoded + at, bytes, length);
        at += length;
        putchar(tokens[i] & 255);
        putchar(tokens[i] >> 8);
    }
#ifndef LOSES
    if (at != n || memcmp(text, decoded, n) != 0) {
        return 1;
    }
#endif
    return model_decode(MODEL_END_OF_TEXT, decoded) == 0 && model_decode(MODEL_VOCAB_SIZE, decoded) == 0 ? 0 : 1;
}

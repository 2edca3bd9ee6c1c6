/* One token per character: the alphabet, the unknown character, end-of-text. */
#define UNKNOWN (sizeof alphabet / sizeof alphabet[0])

size_t itera_encode(const uint8_t *text, size_t n, uint16_t *tokens)
{
    size_t written = 0, at = 0;
    while (at < n) {
        uint32_t code;
        size_t low = 0, high = UNKNOWN;
        at += character(text + at, n - at, &code);
        if (code == INVALID) {
            return ITERA_NOT_UTF8;
        }
        while (low < high) {
            size_t middle = (low + high) / 2;
            if (alphabet[middle] < code) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        tokens[written++] = (uint16_t)(low < UNKNOWN && alphabet[low] == code ? low : UNKNOWN);
    }
    return written;
}

size_t itera_decode(uint32_t token, uint8_t *text)
{
    uint32_t code = 0xfffdu;
    size_t bytes, i;
    if (token > UNKNOWN) {
        return 0;
    }
    if (token < UNKNOWN) {
        code = alphabet[token];
    }
    if (code < 0x80) {
        text[0] = (uint8_t)code;
        return 1;
    }
    bytes = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (i = bytes; i-- > 1;) {
        text[i] = (uint8_t)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    text[0] = (uint8_t)((0xf00u >> bytes) | code);
    return bytes;
}

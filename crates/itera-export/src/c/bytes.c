/* One token per byte. */
size_t itera_encode(const uint8_t *text, size_t n, uint16_t *tokens)
{
    size_t i;
    for (i = 0; i < n; i++) {
        tokens[i] = text[i];
    }
    return n;
}

size_t itera_decode(uint32_t token, uint8_t *text)
{
    if (token > 255) {
        return 0;
    }
    text[0] = (uint8_t)token;
    return 1;
}

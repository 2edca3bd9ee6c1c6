/* The character that begins at `text`, and the number of its bytes; INVALID for the longest sequence that begins
   like one and is none. */
#define INVALID 0xffffffffu

static size_t character(const uint8_t *text, size_t n, uint32_t *code)
{
    uint8_t first = text[0], least = 0x80, most = 0xbf;
    size_t bytes = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0, i;
    *code = INVALID;
    if (bytes == 0) {
        return 1;
    }
    /* Neither longer forms than needed, nor surrogates, nor beyond U+10FFFF. */
    least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : least;
    most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : most;
    for (i = 1; i < bytes; i++) {
        if (i == n || text[i] < least || text[i] > most) {
            return i;
        }
        least = 0x80;
        most = 0xbf;
    }
    *code = bytes == 1 ? first : first & (0x7fu >> bytes);
    for (i = 1; i < bytes; i++) {
        *code = *code << 6 | (text[i] & 0x3fu);
    }
    return bytes;
}

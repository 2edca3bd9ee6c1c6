#!/usr/bin/env python3
"""Check that Hugging Face `tokenizers` gives the same ids as Itera-Lite.

usage: check-tokenizer.py TOKENIZER.JSON TEXT IDS

TEXT is a UTF-8 file, IDS holds its token ids as integers between white space. Exit status: 0 same
ids and same text back, 1 different, 2 could not run. Needs `pip install tokenizers` (tried: 0.23.3).
"""

import sys

EXCERPT = 5  # ids shown around the first difference


def main(tokenizer_path: str, text_path: str, ids_path: str) -> int:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(tokenizer_path)
    # Itera-Lite never makes an end-of-text token from text, even where the text spells it out.
    tokenizer.encode_special_tokens = True
    with open(text_path, encoding="utf-8", newline="") as file:
        text = file.read()
    size = len(text.encode())
    with open(ids_path, encoding="ascii") as file:
        ours = [int(word) for word in file.read().split()]

    theirs = tokenizer.encode(text, add_special_tokens=False).ids
    if ours != theirs:
        both = zip(ours, theirs)
        at = next((i for i, (a, b) in enumerate(both) if a != b), min(len(ours), len(theirs)))
        near = slice(max(at - EXCERPT, 0), at + EXCERPT)
        print(f"different at token {at} of {len(ours)} (theirs: {len(theirs)})")
        print(f"  ours   {ours[near]} {tokenizer.decode(ours[near])!r}")
        print(f"  theirs {theirs[near]} {tokenizer.decode(theirs[near])!r}")
        return 1
    # A character outside the alphabet of a char tokenizer comes back as U+FFFD.
    known = tokenizer.get_vocab()
    if "\ufffd" in known:
        text = "".join(char if char in known else "\ufffd" for char in text)
    if tokenizer.decode(ours) != text:
        print(f"same {len(ours)} ids, but they decode to another text")
        return 1
    print(f"same {len(ours)} ids for {size} bytes, and the same text back")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        status = main(*sys.argv[1:])
    except Exception as error:  # any failure to load or read: nothing was compared
        print(f"check-tokenizer.py: {error}", file=sys.stderr)
        status = 2
    sys.exit(status)

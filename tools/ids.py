"""Ids as people write them."""

from __future__ import annotations

from nostro.journal import AMOUNT_MAX


def parse_id(text: str) -> int:
    """Return the id written as a decimal or ``0x`` hexadecimal number.

    Raises:
        ValueError: not a number, or not from 1 to 2**128 - 2.
    """
    text = text.strip()
    if not text.isascii() or "_" in text:
        raise ValueError(f"not an id: {text!r}")
    try:
        value = int(text, 16) if text[:2].lower() == "0x" else int(text)
    except ValueError:
        raise ValueError(f"not an id: {text!r}") from None
    if not 0 < value < AMOUNT_MAX:
        raise ValueError(f"an id is a number from 1 to 2**128 - 2, not {text!r}")
    return value

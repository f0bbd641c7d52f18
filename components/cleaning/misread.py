"""How text was that was UTF-8 and was read as Western European, text by text."""

MARKS = r"[ÂÃÅÆÎÏÐÑâãäåæçèéìíðñ][^\x00-\x7f]"
"""The first byte of a longer character and one that follows it, as they look then."""
ROUNDS = 3


def fixed_text(text: str) -> str:
    """The text as it was before it was read wrongly, up to ROUNDS times over."""
    for _ in range(ROUNDS):
        try:
            was = bytes(_byte(sign) for sign in text).decode()
        except (ValueError, UnicodeError):
            return text
        if was == text:
            return text
        text = was
    return text


def _byte(sign: str) -> int:
    """The byte that was read as this character: Windows-1252, and its five gaps as ISO 8859-1."""
    if ord(sign) < 0xA0:
        return ord(sign)
    return sign.encode("cp1252")[0]

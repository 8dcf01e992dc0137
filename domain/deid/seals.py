"""How a sealed value is written: what `token` and `fpe` leave in a text, what opens it, and what is not to be found again."""

MARK = r"(?P<type>[A-Z][A-Z0-9_]{1,39})\((?P<fpe>fpe-)?(?P<length>[0-9]{1,4})\):"
"""Pattern of what stands before it: its type, and how many characters follow."""
SHORTEST_TOKEN = 28
"""Characters: AES-SIV adds sixteen bytes to one at least, and base32 writes five bits a character."""
FEWEST_DIGITS = 6
"""FF1 is unsafe below a million values."""

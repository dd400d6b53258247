"""How numbers and names are written for people."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with control characters spelled out, so that a name from a file cannot steer what shows it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def duration(seconds: float) -> str:
    """Minutes and seconds for people."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"


def count(number: float) -> str:
    """A count with a unit prefix and three digits."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {suffix}"
    return f"{number:.0f}"


def change(before: float, after: float) -> str:
    """By how many percent a number grew or shrank; empty where it was 0."""
    return f"{after / before - 1:+.1%}" if before else ""

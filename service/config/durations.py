"""Lengths of time as people write them: 90s, 15m, 4h, 2d, or several together, 1d 12h."""

from __future__ import annotations

import re

_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_FORM = re.compile(" *".join(f"(?:([0-9]{{1,9}}){unit})?" for unit in _SECONDS))
LONGEST = 366 * 86400
HOW = 'Say it as in "90s", "15m", "4h", "2d" or "1d 12h": days, hours, minutes, seconds, from 1s to 366d.'


def parse_duration(text: str) -> int:
    """Return the seconds that `text` stands for, from 1 second to 366 days. Raises ValueError on anything else."""
    found = _FORM.fullmatch(text)
    if not found or not any(found.groups()) or text != text.strip():
        raise ValueError(f"{text[:100]!r} is no length of time")
    seconds = sum(int(number or 0) * unit for number, unit in zip(found.groups(), _SECONDS.values(), strict=True))
    if not 1 <= seconds <= LONGEST:
        raise ValueError(f"{text[:100]!r} is not between one second and 366 days")
    return seconds


def say_duration(seconds: int) -> str:
    """Return the shortest text that `parse_duration` reads as `seconds`, which is at least 1."""
    parts = []
    for unit, size in _SECONDS.items():
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(f"{number}{unit}")
    return " ".join(parts)

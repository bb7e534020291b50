"""The alarm that a witness raised: evidence of two histories, beside the keys, until somebody has looked."""

from __future__ import annotations

from .errors import VerificationError
from .keyfolder import KeyFolder

ALARM = "witness-alarm"


def check_alarm(folder: KeyFolder) -> None:
    """Raise VerificationError (`check` is "witness") while an alarm stands: nothing may be signed then."""
    path = folder.path / ALARM
    if path.exists():
        raise VerificationError(
            f"A witness held another history of this log than ours; what it answered is in {path}. Nothing is signed.",
            check="witness",
            remedy="Find out which history is the real one. When that is settled, move the file away, and keep it.",
        )

"""Names and passwords as people type them, made comparable, or refused with the member that is wrong. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from ..errors import InvalidError

ADMINISTRATOR = "administrator"
AUDITOR = "auditor"
SYSTEM_ROLES = (ADMINISTRATOR, AUDITOR)
"""Roles that no policy asks for: users, grants and keys; reading and exporting everything."""
EVERY_WORKFLOW = "*"

SCOPES = (
    "cases:start", "cases:read", "cases:correct", "cases:stop", "cases:retry", "entries:read", "reviews:attest",
    "reviews:read", "workflows:read",
)  # fmt: skip
"""What an API key may be for. None of them signs, and none is about users, grants or keys."""

LONGEST_NAME, LONGEST_OF_POLICIES, LONGEST_REASON = 100, 255, 4_000
SHORTEST_PASSWORD, LONGEST_PASSWORD = 12, 256


def fold_username(typed: str) -> str:
    """Return the one spelling of a username: NFKC, case folded. Two that are equal so are the same name."""
    name = unicodedata.normalize("NFKC", typed)
    # Folding may undo the normal form and the other way round; the third round changes nothing.
    for _ in range(3):
        name = unicodedata.normalize("NFKC", name.casefold())
    return name.strip()


def check_username(typed: str) -> str:
    """Return the folded name: 1 to 100 printable characters. Raises InvalidError otherwise."""
    return _printable(fold_username(typed), "username", "A username")


def check_printed_name(typed: str) -> str:
    """Return the name that stands on signatures: 1 to 100 printable characters. Raises InvalidError otherwise."""
    return _printable(unicodedata.normalize("NFC", typed).strip(), "printed_name", "A printed name")


def check_label(typed: str) -> str:
    """Return the name of an API key: 1 to 100 printable characters. Raises InvalidError otherwise."""
    return _printable(unicodedata.normalize("NFC", typed).strip(), "name", "The name of an API key")


def check_reason(typed: str) -> str:
    """Return why something is done: 1 to 4,000 characters in one line. Raises InvalidError otherwise."""
    reason = unicodedata.normalize("NFC", typed).strip()
    if not 1 <= len(reason) <= LONGEST_REASON or not reason.isprintable():
        raise InvalidError(
            f"A reason has 1 to {LONGEST_REASON} printable characters, in one line.", facts={"place": "reason"}
        )
    return reason


def check_role(role: str) -> str:
    """Return `role` if a policy may use it: 1 to 255 printable characters. Raises InvalidError otherwise."""
    return _of_policies(role, "role", "A role")


def check_workflow(workflow: str) -> str:
    """Return `workflow` if one may be called so, as with roles, or `*` for all. Raises InvalidError otherwise."""
    return _of_policies(workflow, "workflow", "A workflow")


def check_grant(role: str, workflow: str) -> tuple[str, str]:
    """Return role and workflow. Raises InvalidError also for a role of the system's that is not given for all."""
    role, workflow = check_role(role), check_workflow(workflow)
    if role in SYSTEM_ROLES and workflow != EVERY_WORKFLOW:
        raise InvalidError(
            f"The role {role} is not one of a workflow.",
            remedy=f"Give it for all workflows: {EVERY_WORKFLOW}",
            facts={"place": "workflow"},
        )
    return role, workflow


def known_form(identifier: str) -> str:
    """Return an id as a caller gave it, or nothing where no id of ours looks like that, so that none is found."""
    return identifier if identifier.isascii() and identifier.isprintable() else ""


def check_scopes(scopes: Iterable[str]) -> list[str]:
    """Return the scopes, sorted, each once; there is at least one. Raises InvalidError for one that is none."""
    wanted = sorted(set(scopes))
    if not wanted or not set(wanted) <= set(SCOPES):
        raise InvalidError(
            "An API key is for one or more of the scopes that there are, and for nothing else.",
            remedy=f"Choose from: {', '.join(SCOPES)}",
            facts={"place": "scopes"},
        )
    return wanted


def typed_password(typed: str) -> str | None:
    """Return a password that somebody typed in its normal form, or None where it is none that could be set."""
    password = unicodedata.normalize("NFKC", typed)
    return password if len(password) <= LONGEST_PASSWORD and _is_unicode(password) else None


def check_password(typed: str, username: str, place: str = "password") -> str:
    """Return a new password in its normal form, NFKC: 12 to 256 characters, and not the username.

    Raises InvalidError otherwise, in a sentence that does not repeat it.
    """
    password = typed_password(typed)
    if password is None or len(password) < SHORTEST_PASSWORD:
        what = f"A password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters"
        raise InvalidError(f"{what}.", remedy="Choose another one.", facts={"place": place})
    if fold_username(password) == username:
        raise InvalidError("A password is not the username.", remedy="Choose another one.", facts={"place": place})
    return password


def _printable(name: str, place: str, what: str) -> str:
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise InvalidError(f"{what} has 1 to {LONGEST_NAME} printable characters.", facts={"place": place})
    return name


def _of_policies(text: str, place: str, what: str) -> str:
    if not 1 <= len(text) <= LONGEST_OF_POLICIES or not text.isprintable() or text != text.strip():
        raise InvalidError(
            f"{what} has 1 to {LONGEST_OF_POLICIES} printable characters, without space around them.",
            facts={"place": place},
        )
    return text


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)

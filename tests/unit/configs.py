"""Texts of countersign.toml for the tests, and a way to spoil one in a line that is marked."""

from __future__ import annotations

from pathlib import Path

FILE = Path("/nowhere/countersign.toml")
MARK = "#!"
PLAIN = """
[retention.clinical]
days = 3650

[workflows.orders]
graph = "orders:graph"
retention = "clinical"

[workflows.orders.roles]
start = ["prescriber"]
fallback = "supervisor"

[[workflows.orders.gates]]
name = "pharmacist"
before = "review"
question = "May this order be given?"
role = "pharmacist"

[workflows.orders.gates.decisions.approved]
meaning = "I have checked it."
releases = true

[workflows.orders.gates.decisions.rejected]
meaning = "It must not be given."
reason = "required"
write = { decision = "$decision", notes = "$reason" }
"""
ASKING = PLAIN.replace('before = "review"', 'interrupt = "ask"').replace(
    "releases = true", 'releases = true\nresume = "$decision"'
)
ASKING = ASKING.replace('write = { decision = "$decision", notes = "$reason" }', 'resume = "$decision"')


def changed(old: str, new: str, text: str = PLAIN) -> str:
    """Return the text with `old`, which stands there once, replaced."""
    assert text.count(old) == 1, old
    return text.replace(old, new)


def marked_line(text: str) -> int:
    """Return the line, from 1, of the one mark in a text."""
    (line,) = (number for number, line in enumerate(text.split("\n"), 1) if MARK in line)
    return line

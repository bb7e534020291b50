"""A small project of a graph with its countersign.toml, as it lies on disk, and changes to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

GRAPH = """
from typing import Annotated, Callable, TypedDict
import operator

from langgraph.graph import StateGraph
from langgraph.types import interrupt

import dosing
from clinic.rules import units
from importlib import import_module

import_module("plugin")
print("a module may print what it likes")


class State(TypedDict):
    dose: int
    steps: Annotated[list[Annotated[str, lambda a: a]], operator.add]


def plan(state):
    from later import think
    return {"dose": think(dosing.USUAL)}


def ask(state):
    return {"dose": interrupt("how much?")}


def build():
    builder = StateGraph(State)
    builder.add_node("plan", plan)
    builder.add_node("ask", ask)
    builder.add_edge("__start__", "plan")
    builder.add_edge("plan", "ask")
    return builder


graph = build().compile(interrupt_after=["plan"])
"""
FILES = {
    "orders.py": GRAPH,
    "dosing.py": "USUAL = 5\n",
    "later.py": "from clinic import rules\n\ndef think(dose):\n    return dose\n",
    "plugin.py": "",
    "clinic/__init__.py": "",
    "clinic/rules/__init__.py": "from . import units\nfrom ..tables import TABLE\n",
    "clinic/rules/units.py": "",
    "clinic/tables.py": "TABLE = {}\n",
    "unused.py": "raise ValueError\n",
    "prompts/plan.md": "Be careful.\n",
    "venv/lib/python3/site-packages/other.py": "",
    "countersign.toml": """
[retention.clinical]
days = 3650

[workflows.orders]
graph = "./orders.py:graph"
retention = "clinical"
files = ["prompts/*.md"]

[workflows.orders.roles]
start = ["prescriber"]
fallback = "supervisor"
redirect = { roles = ["supervisor"], to = ["plan"] }

[[workflows.orders.gates]]
name = "dose"
interrupt = "ask"
question = "How much?"
role = "pharmacist"
decisions.given = { meaning = "This much.", releases = true, resume = 5 }

[[workflows.orders.gates]]
name = "checked"
after = "plan"
question = "Checked?"
role = "pharmacist"
decisions.yes = { meaning = "Checked.", releases = true, write = { dose = 4 } }
edit = { meaning = "Changed.", values = { type = "object", properties = { dose = { type = "integer" } } } }
""",
}


def written(folder: Path) -> Path:
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def edited(name: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        text = (folder / name).read_text()
        assert text.count(old) == 1
        (folder / name).write_text(text.replace(old, new))

    return edit


def appended(name: str, text: str) -> Callable[[Path], None]:
    def append(folder: Path) -> None:
        with (folder / name).open("a") as file:
            file.write(text)

    return append

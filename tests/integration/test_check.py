"""`countersign check`: graphs found, looked at and judged by an exit code; nonsense answered in one sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import pytest
from click.testing import CliRunner, Result
from langgraph.graph import END, START, StateGraph

from conftest import Database
from countersign.audit import AuditedPostgresSaver, attach
from countersign.audit.inspection import inspect_graph
from countersign.service.cli import main
from graphs import thread

REPOSITORY = Path(__file__).resolve().parents[2]
GOOD = """
print("a module may print what it likes")
from typing import TypedDict
from langgraph.graph import StateGraph

class State(TypedDict):
    x: int

def node(state: State) -> State:
    return {"x": 1}

builder = StateGraph(State)
builder.add_node("node", node)
builder.set_entry_point("node")
graph = builder.compile(interrupt_before=["node"])

def make():
    return graph

def make_for(name):
    return graph

async def make_later():
    return graph

def make_nothing():
    return None

def make_trouble():
    raise LookupError("no such\\nthing")

class Holder:
    inner = graph
"""
BAD = GOOD.replace("x: int", "x: object\n    y: 'threading.Event'").replace("print(", "import threading\nprint(")


@pytest.fixture(autouse=True)
def _nothing_stays_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name, module in [*sys.modules.items()]:
        if str(getattr(module, "__file__", None)).startswith((str(tmp_path), str(REPOSITORY / "examples"))):
            del sys.modules[name]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(*words: str) -> Result:
    """Run the command where there is no database, and no home."""
    env = {"COUNTERSIGN_DATABASE_URL": "nonsense", "COUNTERSIGN_HOME": "/nowhere"}
    return CliRunner().invoke(main, ["check", *words], env=env)


def assert_one_sentence(result: Result, said: str) -> None:
    assert (result.exit_code, result.stdout) == (2, "")
    lines = [line for line in result.stderr.splitlines() if "may print" not in line]
    assert len(lines) == 2, lines
    assert lines[0].startswith("countersign: ")
    assert said in lines[0]
    assert lines[1].startswith("  ")


@pytest.mark.parametrize("name", ["graph", "builder", "make", "Holder.inner"])
@pytest.mark.parametrize("where", ["orders", "orders.py"])
def test_a_graph_a_builder_and_a_function_that_makes_one(here: Path, where: str, name: str) -> None:
    (here / "orders.py").write_text(GOOD)
    result = check(f"{where}:{name}")
    assert result.exit_code == 0, result.output
    assert "x  int: as it is" in result.stdout
    assert ("node: pauses before it" in result.stdout) is (name != "builder")
    assert result.stdout.splitlines()[-1] == "verdict: nothing to change"
    assert "may print" not in result.stdout


def test_a_file_in_a_folder_finds_what_lies_beside_it(here: Path) -> None:
    (here / "app").mkdir()
    (here / "app" / "beside.py").write_text(GOOD)
    (here / "app" / "flow.py").write_text("from beside import graph")
    assert check("app/flow.py:graph").exit_code == 0


def test_a_package_is_found_from_the_current_folder(here: Path) -> None:
    (here / "app").mkdir()
    (here / "app" / "__init__.py").touch()
    (here / "app" / "flow.py").write_text(GOOD)
    assert check("app.flow:graph").exit_code == 0


def test_a_file_with_the_name_of_a_library_does_not_replace_it(here: Path) -> None:
    (here / "json.py").write_text(GOOD)
    assert check("json.py:graph").exit_code == 0
    assert sys.modules["json"] is json


def test_what_an_engineer_has_to_change(here: Path) -> None:
    (here / "orders.py").write_text(BAD)
    result = check("orders:graph")
    assert result.exit_code == 1
    assert "to change:\n  y: A threading.Event cannot be saved" in result.stdout
    assert result.stdout.splitlines()[-1] == "verdict: 1 to change"


def test_json_for_machines(here: Path) -> None:
    (here / "orders.py").write_text(BAD)
    result = check("--json", "orders:graph")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["ready"]) == (1, False)
    assert [remark["where"] for remark in document["remarks"] if remark["must"]] == ["y"]
    assert [node["pauses"] for node in document["parts"][0]["nodes"]] == [["before"]]


NONSENSE: dict[str, tuple[str, str]] = {
    "no colon": ("orders", "names no graph"),
    "nothing before it": (":graph", "names no graph"),
    "nothing behind it": ("orders:", "names no graph"),
    "no such module": ("nowhere.orders:graph", "There is no module 'nowhere.orders'"),
    "no such file": ("nowhere/orders.py:graph", "There is no file nowhere/orders.py"),
    "a folder": ("folder.py:graph", "There is no file folder.py"),
    "no such attribute": ("orders:graf", "orders has no 'graf'"),
    "no graph": ("orders:State", "is no LangGraph graph"),
    "a function that makes nothing": ("orders:make_nothing", "builtins.NoneType is no LangGraph graph"),
    "a function with arguments": ("orders:make_for", "takes arguments (missing a required argument: 'name')"),
    "a coroutine function": ("orders:make_later", "is a coroutine function"),
    "a function that fails": ("orders:make_trouble", "LookupError: no such thing"),
    "a module that fails": ("fails:graph", "ZeroDivisionError: division by zero"),
    "a module that exits": ("exits:graph", "Importing exits failed: SystemExit: 3"),
    "a module that is no Python": ("broken.py:graph", "SyntaxError"),
    "a file that is no text": ("binary.py:graph", "Importing binary.py failed"),
    "a module that needs another": ("lacking:graph", "No module named 'not_installed'"),
    "a relative name": (".orders:graph", "Importing .orders failed"),
    "a name with a space": ("or ders:graph", "There is no module 'or ders'"),
}


@pytest.mark.parametrize(("target", "said"), NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_answered_in_a_sentence(here: Path, target: str, said: str) -> None:
    (here / "orders.py").write_text(GOOD)
    (here / "fails.py").write_text("x = 1\ny = x / 0\n")
    (here / "exits.py").write_text("import sys; sys.exit(3)")
    (here / "broken.py").write_text("def graph(:\n")
    (here / "binary.py").write_bytes(b"\x00\xff\xfe")
    (here / "lacking.py").write_text("import not_installed")
    (here / "folder.py").mkdir()
    assert_one_sentence(check(target), said)


def test_the_place_of_a_failure_is_named(here: Path) -> None:
    (here / "fails.py").write_text("x = 1\ny = x / 0\n")
    assert "fails.py, line 2)" in check("fails:graph").stderr


def test_the_graphs_of_a_module_are_offered(here: Path) -> None:
    (here / "orders.py").write_text(GOOD)
    assert "Graphs there: builder, graph." in check("orders:app").stderr


def test_the_installed_command_needs_no_database_and_leaves_nothing(here: Path) -> None:
    (here / "orders.py").write_text(GOOD)
    command = [str(Path(sys.executable).with_name("countersign")), "check", "orders:graph"]
    env = os.environ | {"COUNTERSIGN_HOME": str(here / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
    env.pop("COUNTERSIGN_DATABASE_URL", None)
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "verdict: nothing to change")
    assert [path.name for path in here.iterdir()] == ["orders.py"]


EXAMPLES = {
    "error_correction": "reading_workflow",
    "medication_order": "order_workflow",
    "override": "triage_workflow",
    "questions": "check_workflow",
    "research_report": "report_workflow",
    "review_api": "order_workflow",
    "rules": "order_workflow",
    "two_clinicians": "plan_workflow",
}


@pytest.mark.parametrize(("name", "workflow"), EXAMPLES.items(), ids=EXAMPLES)
def test_the_examples_need_no_change(name: str, workflow: str) -> None:
    result = check(f"{REPOSITORY / 'examples' / name}.py:{workflow}")
    assert result.exit_code == 0, result.output


def test_every_example_is_checked() -> None:
    assert {path.stem for path in (REPOSITORY / "examples").glob("*.py")} == set(EXAMPLES)


class Point(NamedTuple):
    x: int


class State(TypedDict):
    at: Point
    seen: str


def _seen(state: State) -> Any:
    return {"seen": type(state["at"]).__name__}


@pytest.mark.parametrize("registered", [False, True], ids=["as told before", "as told to"])
async def test_what_is_told_of_a_class_is_what_happens(database: Database, registered: bool) -> None:  # noqa: FBT001
    builder: Any = StateGraph(State)
    builder.add_node("look", _seen)
    builder.add_edge(START, "look")
    builder.add_edge("look", END)
    graph = builder.compile(interrupt_before=["look"])
    (key,) = inspect_graph(graph).register
    sees: Callable[[Any], Any] = (lambda saver: saver.with_allowlist([key])) if registered else (lambda saver: saver)
    config = thread()[1]
    async with database.saver() as saver:
        await attach(graph, sees(saver)).ainvoke({"at": Point(1), "seen": ""}, config)
        attached = attach(graph, sees(saver))
        assert inspect_graph(attached).ready is registered
        result = await attached.ainvoke(None, config)
    assert result["seen"] == ("Point" if registered else "dict")


async def _awaited(state: State) -> Any:
    return {"seen": "awaited"}


async def test_coroutines_on_a_sync_saver_are_to_be_changed(database: Database) -> None:
    builder: Any = StateGraph(State)
    builder.add_node("look", _awaited)
    builder.add_edge(START, "look")
    with AuditedPostgresSaver.from_conn_string(database.app_url, home=database.home) as saver:
        told = inspect_graph(attach(builder.compile(), saver)).remarks
    assert [remark.where for remark in told if remark.must and "awaited" in remark.message] == ["look"]
    async with database.saver() as other:
        told = inspect_graph(attach(builder.compile(), other)).remarks
    assert not [remark for remark in told if remark.must and "awaited" in remark.message]
    assert "attached already" in told[0].message

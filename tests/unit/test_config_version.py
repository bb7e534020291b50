"""The version of a workflow: what it consists of, that it is the same everywhere, and that what counts changes it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from countersign.audit.errors import ConfigurationError
from countersign.audit.standing import PARTS, version_of
from countersign.service.config.graphs import graph_environment, load_workflow
from countersign.service.config.load import load_config
from countersign.service.config.look import describe, describe_all_in_children, describe_in_child
from countersign.service.config.model import Config
from countersign.service.config.version import Description
from unit.projects import appended, edited, written

SOURCES = [
    "clinic/__init__.py", "clinic/rules/__init__.py", "clinic/rules/units.py", "clinic/tables.py", "dosing.py",
    "later.py", "orders.py", "plugin.py", "prompts/plan.md",
]  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return written(tmp_path / "project")


@pytest.fixture(autouse=True)
def imports() -> Iterator[None]:
    """Forget what a test imports: another project has modules of the same names."""
    before, path = set(sys.modules), [*sys.path]
    yield
    for name in set(sys.modules) - before:
        if not name.startswith(("langgraph", "langchain", "countersign")) and _is_of_a_test(sys.modules[name]):
            del sys.modules[name]
    sys.path[:] = path


def _is_of_a_test(module: Any) -> bool:
    return "/project" in (getattr(module, "__file__", None) or "")


def here(folder: Path) -> Description:
    config = load_config(folder)
    (workflow,) = config.workflows.values()
    return describe(config, workflow, load_workflow(config, workflow))


def sources(found: Description) -> list[str]:
    code: Any = found.documents["code"]
    return [source["path"] for source in code["sources"]]


def test_the_parts_are_documents_without_a_path_of_this_machine(project: Path) -> None:
    found = here(project)
    assert sources(found) == SOURCES
    assert found.version == version_of("orders", {**found.parts})
    assert sorted(found.documents) == sorted(PARTS)
    assert str(project) not in repr(found.documents)
    assert " at 0x" not in repr(found.documents)
    packages: Any = found.documents["packages"]
    assert packages["packages"] == sorted(packages["packages"])
    assert any(one.startswith("langgraph==") for one in packages["packages"])
    assert any(one.startswith("countersign==") for one in packages["packages"])


def test_the_graph_s_document_says_how_it_goes_on_and_where_it_pauses(project: Path) -> None:
    graph: Any = here(project).documents["graph"]
    (part,) = graph["parts"]
    assert part["edges"] == [["__start__", "plan"], ["plan", "ask"]]
    assert [(node["name"], node["pauses"]) for node in part["nodes"]] == [("ask", []), ("plan", ["after"])]
    dose, steps = part["channels"]
    assert dose == {"name": "dose", "type": "int", "kind": "LastValue", "reducer": None}
    assert (steps["kind"], steps["reducer"]) == ("BinaryOperatorAggregate", "_operator.add")


def test_what_else_this_process_has_imported_makes_no_other_version(project: Path) -> None:
    before = here(project)
    for name in ("orders", "dosing", "clinic.tables", "plugin"):
        assert name in sys.modules
    assert here(project) == before


def test_a_child_in_another_checkout_finds_the_same_version(project: Path, tmp_path: Path) -> None:
    copy = written(tmp_path / "other" / "project")
    config = load_config(copy)
    child = describe_in_child(config, config.workflow("orders"), os.environ)
    assert child == here(project)
    assert "orders" not in sys.modules or not str(sys.modules["orders"].__file__).startswith(str(copy))


CHANGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a gate's meaning": ("policy", edited("countersign.toml", "This much.", "That much.")),
    "the days of retention": ("policy", edited("countersign.toml", "3650", "3651")),
    "an edge": ("graph code", edited("orders.py", 'add_edge("plan", "ask")', 'add_edge("plan", "__end__")')),
    "a pause": ("graph code", edited("orders.py", 'interrupt_after=["plan"]', "")),
    "a channel's type": ("graph code", edited("orders.py", "dose: int", "dose: float")),
    "a reducer": ("graph code", edited("orders.py", "a]], operator.add]", "a]], operator.iconcat]")),
    "a comment": ("code", edited("orders.py", "import dosing\n", "import dosing  # as ever\n")),
    "a module that it imports": ("code", edited("dosing.py", "5", "50")),
    "a module that a node imports when it runs": ("code", edited("later.py", "return dose", "return 10 * dose")),
    "a module of a package, imported from it": ("code", edited("clinic/tables.py", "{}", "{1: 2}")),
    "a module that import_module names": ("code", appended("plugin.py", "x = 1")),
    "a prompt": ("code", edited("prompts/plan.md", "careful", "quick")),
    "one prompt more": ("code", appended("prompts/x.md", "And be kind.")),
    "an image in its place": ("code", edited("countersign.toml", "files = ", f'image = "sha256:{"0" * 64}"\nfiles = ')),
    "nothing that counts": ("", edited("unused.py", "ValueError", "TypeError")),
    "a comment in the file": ("", edited("countersign.toml", "[retention", "# for ever\n[retention")),
    "what is installed in the folder": ("", appended("venv/lib/python3/site-packages/other.py", "x = 1")),
}  # fmt: skip


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Description:
    folder = written(tmp_path_factory.mktemp("first") / "project")
    config = load_config(folder)
    return describe_in_child(config, config.workflow("orders"), os.environ)


@pytest.mark.parametrize(("parts", "change"), CHANGES.values(), ids=CHANGES.keys())
def test_a_change_shows_in_the_part_that_it_belongs_to(
    project: Path, unchanged: Description, parts: str, change: Callable[[Path], None]
) -> None:
    change(project)
    found = here(project)
    assert {part for part in PARTS if found.parts[part] != unchanged.parts[part]} == set(parts.split())
    assert (found.version != unchanged.version) == bool(parts)


def test_another_package_is_another_version(project: Path, tmp_path: Path) -> None:
    before = here(project)
    info = tmp_path / "site-packages" / "Some_Thing-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Some_Thing\nVersion: 1.0\n")
    sys.path.append(str(info.parent))
    found = here(project)
    assert {part for part in PARTS if found.parts[part] != before.parts[part]} == {"packages"}
    packages: Any = found.documents["packages"]
    assert "some-thing==1.0" in packages["packages"]


@pytest.mark.parametrize("working", [False, True], ids=["the project's", "where the process works"])
def test_what_a_checkout_says_of_itself_is_not_installed(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, working: bool
) -> None:
    before = here(project)
    folder = tmp_path if working else project
    info = folder / "clinic.egg-info"
    info.mkdir()
    (info / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: clinic\nVersion: 1.0\n")
    monkeypatch.chdir(folder)
    sys.path.append(str(folder))
    assert here(project).version == before.version


def test_a_second_graph_of_the_same_file_has_the_same_sources(project: Path) -> None:
    edited("countersign.toml", "[workflows.orders.roles]", "#")(project)
    text = (project / "countersign.toml").read_text().replace("#", "[workflows.orders.roles]")
    again = text.partition("[workflows.orders]")[2].replace("workflows.orders", "workflows.again")
    (project / "countersign.toml").write_text(f"{text}\n[workflows.again]{again.replace('py:graph', 'py:build')}")
    config = load_config(project)
    described = [describe(config, one, load_workflow(config, one)) for one in config.workflows.values()]
    assert [sources(one) for one in described] == [SOURCES, SOURCES]


def test_a_graph_that_is_installed_counts_with_its_package(project: Path, tmp_path: Path) -> None:
    installed = tmp_path / "project's" / "site-packages"
    for name in ("orders.py", "dosing.py", "later.py", "plugin.py"):
        text = (project / name).read_text().replace("import dosing", "from hospital import dosing")
        (installed / "hospital").mkdir(parents=True, exist_ok=True)
        (installed / "hospital" / name).write_text(
            text.replace("clinic", "hospital.clinic").replace("from later", "from .later")
        )
    (project / "plugin.py").rename(installed / "plugin.py")
    (project / "clinic").rename(installed / "hospital" / "clinic")
    sys.path.insert(0, str(installed))
    edited("countersign.toml", "./orders.py:", "hospital.orders:")(project)
    edited("countersign.toml", 'files = ["prompts/*.md"]', "")(project)
    assert sources(here(project)) == [
        "installed:hospital/clinic/__init__.py",
        "installed:hospital/clinic/rules/__init__.py",
        "installed:hospital/clinic/rules/units.py",
        "installed:hospital/clinic/tables.py",
        "installed:hospital/dosing.py",
        "installed:hospital/later.py",
        "installed:hospital/orders.py",
    ]


MISFITS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a gate at no node": (
        edited("countersign.toml", 'after = "plan"', 'after = "plans"'),
        r"line 24: workflows.orders.gates\[1\].after: The graph has no node 'plans'. Its nodes: plan, ask",
    ),
    "a question at no node": (
        edited("countersign.toml", 'interrupt = "ask"', 'interrupt = "__start__"'),
        r"gates\[0\].interrupt: The graph has no node '__start__'",
    ),
    "a field that is not there": (
        edited("countersign.toml", "{ dose = 4 }", "{ doze = 4 }"),
        r"line 27: workflows.orders.gates\[1\].decisions.yes.write.doze: .* no field 'doze'. Its fields: dose, steps",
    ),
    "an edit of no field": (
        edited("countersign.toml", "{ dose = { type", "{ doze = { type"),
        r"line 28: workflows.orders.gates\[1\].edit.values.properties.doze: ",
    ),
    "sent to no node": (
        edited("countersign.toml", 'to = ["plan"]', 'to = ["plan", "end"]'),
        r"line 13: workflows.orders.roles.redirect.to\[1\]: The graph has no node 'end'",
    ),
    "a pattern of no file": (
        edited("countersign.toml", "prompts/*.md", "prompts/*.txt"),
        r"line 5: workflows.orders: No file of the project is 'prompts/\*.txt'",
    ),
    "sources elsewhere": (
        edited("countersign.toml", "files = [", 'project = "clinic"\nfiles = ["x",'),
        "does not lie below the project's folder.*`project = ",
    ),
    "no such graph": (
        edited("countersign.toml", "py:graph", "py:grahp"),
        "line 6: workflows.orders.graph: ./orders.py has no 'grahp'. Graphs there: graph",
    ),
    "no such file": (
        edited("countersign.toml", "./orders.py", "./order.py"),
        "line 6: .*There is no file ./order.py. It is looked for",
    ),
    "no such module": (edited("countersign.toml", "./orders.py:", "order:"), "line 6: .*There is no module 'order'"),
    "no graph": (edited("countersign.toml", "py:graph", "py:State"), "line 6: .*is no LangGraph graph"),
    "code that fails": (edited("dosing.py", "5", "5 / 0"), "line 6: .*ZeroDivisionError.*dosing.py, line 1"),
    "code that ends": (edited("dosing.py", "USUAL = 5", "raise SystemExit(3)"), "line 6: .*SystemExit: 3"),
}


@pytest.mark.parametrize(("change", "said"), MISFITS.values(), ids=MISFITS.keys())
def test_a_policy_that_does_not_fit_its_graph_is_told_with_its_line(
    project: Path, change: Callable[[Path], None], said: str
) -> None:
    change(project)
    with pytest.raises(ConfigurationError, match=said):
        here(project)


def test_what_no_gate_names_is_told(project: Path) -> None:
    assert here(project).warnings == ()
    text = (project / "countersign.toml").read_text()
    (project / "countersign.toml").write_text(
        text.replace("interrupt =", "interrupt2 =").replace("after =", "interrupt =")
    )
    edited("countersign.toml", 'interrupt2 = "ask"', 'before = "ask"')(project)
    edited("countersign.toml", "resume = 5", "write = { }")(project)
    edited("countersign.toml", "write = { dose = 4 }", "resume = 4")(project)
    gate, pause, question = here(project).warnings
    assert gate.startswith("countersign.toml, line 24: workflows.orders.gates[1].interrupt: The code of 'plan' shows")
    assert "pause after 'plan', and no gate names that" in pause
    assert "'ask' may ask by interrupt(), and no gate names that" in question


def child(folder: Path, patience: float = 60) -> Description:
    config = load_config(folder)
    return describe_in_child(config, config.workflow("orders"), os.environ, patience=patience)


CHILDREN: dict[str, tuple[Callable[[Path], None], str, float]] = {
    "refuses": (edited("dosing.py", "5", "5 / 0"), "line 6: workflows.orders.graph: .*ZeroDivisionError", 60),
    "dies": (
        edited("dosing.py", "USUAL = 5", 'import os, sys\nprint("bye", file=sys.stderr)\nos._exit(9)'),
        r"line 6: .*ended with 9, saying: .*bye",
        60,
    ),
    "imports what nobody sees": (
        edited("dosing.py", "USUAL = 5", '__import__("un" + "seen"); USUAL = 5'),
        r"line 6: .*It imports unseen.py in a way .* files = \[.unseen.py.\]",
        60,
    ),
    "waits for ever": (
        edited("dosing.py", "USUAL = 5", "import threading\nthreading.Event().wait()"),
        "line 6: .*took longer than 0.5 s",
        0.5,
    ),
}


@pytest.mark.parametrize(("change", "said", "patience"), CHILDREN.values(), ids=CHILDREN.keys())
def test_a_child_that_fails_is_told_with_its_line(
    project: Path, change: Callable[[Path], None], said: str, patience: float
) -> None:
    change(project)
    (project / "unseen.py").write_text("")
    with pytest.raises(ConfigurationError, match=said):
        child(project, patience)


def test_workflows_of_one_graph_are_looked_at_by_one_process(project: Path) -> None:
    leave_a_trace = "import os, pathlib\npathlib.Path(__file__).with_name(f'{os.getpid()}.asked').touch()\nUSUAL = 5"
    edited("dosing.py", "USUAL = 5", leave_a_trace)(project)
    text = (project / "countersign.toml").read_text()
    again = text.partition("[workflows.orders]")[2].replace("workflows.orders", "workflows.again")
    (project / "countersign.toml").write_text(f"{text}\n[workflows.again]{again.replace('Checked?', 'Looked at?')}")
    one, other = describe_all_in_children(load_config(project), os.environ)
    assert (one.workflow, other.workflow) == ("orders", "again")
    assert one.version != other.version
    assert {name for name in one.documents if one.documents[name] != other.documents[name]} == {"policy"}
    assert len([*project.glob("*.asked")]) == 1


def test_graph_code_sees_no_variable_of_ours_and_no_secret(project: Path) -> None:
    edited("dosing.py", "USUAL = 5", "import os\nassert 'DB' not in os.environ and os.environ['PLAIN'] == '1'")(project)
    with (project / "countersign.toml").open("a") as file:
        file.write('[service]\ndatabase = "env:DB"\n')
    config = load_config(project)
    environ = {**os.environ, "DB": "geheim", "PLAIN": "1", "COUNTERSIGN_HOME": "/nowhere"}
    assert describe_in_child(config, config.workflow("orders"), environ).workflow == "orders"
    assert not {"DB", "COUNTERSIGN_HOME"} & graph_environment(config, environ).keys()


@pytest.mark.parametrize(
    ("env", "want"),
    [
        ('{"MODEL": "small"}', {"MODEL": "small"}),
        ('".env"', {"MODEL": "a b", "KEY": "x=y", "EMPTY": ""}),
    ],
)
def test_graph_code_gets_the_variables_of_its_langgraph_project(project: Path, env: str, want: dict[str, str]) -> None:
    config = with_project(project, env)
    (project / ".env").write_text("# one\nMODEL='a b'\nexport KEY = x=y\n\nEMPTY=\nnothing\n#OFF=1\n")
    assert graph_environment(config, {"MODEL": "large", "HOME": "/"}) == {"MODEL": "large", "HOME": "/"} | want


def test_a_file_of_variables_that_is_not_there_is_told(project: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"gone\.env, which langgraph.json names"):
        graph_environment(with_project(project, '"gone.env"'), {})


def with_project(folder: Path, env: str) -> Config:
    (folder / "langgraph.json").write_text(f'{{"graphs": {{"orders": "./orders.py:graph"}}, "env": {env}}}')
    text = (folder / "countersign.toml").read_text().replace('graph = "./orders.py:graph"\n', "")
    (folder / "countersign.toml").write_text(f'langgraph = "langgraph.json"\n{text}')
    return load_config(folder)


def test_a_langgraph_project_gives_the_same_version(project: Path) -> None:
    before = here(project)
    with_project(project, "{}")
    assert here(project).version == before.version

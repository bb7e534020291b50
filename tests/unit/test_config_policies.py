"""What a good countersign.toml comes to: policies, settings, defaults, warnings, secrets, a LangGraph project."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from countersign.audit.canonical import canonical
from countersign.audit.errors import ConfigurationError
from countersign.audit.policy import parse_policy
from countersign.service.config.langgraph_project import parse_project
from countersign.service.config.load import load_config, parse_config
from countersign.service.config.model import Config, GraphAddress, Service
from unit.configs import FILE, PLAIN, changed

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "config_policies.json").read_text())
PROJECT = """{
  "dependencies": [".", "./src", "langchain_openai"],
  "graphs": {
    "orders": "./src/orders.py:graph",
    "other": {"path": "clinic.other:make", "description": "another"},
    "unserved": "./third.py:graph"
  },
  "env": {"MODEL": "small"}
}"""
THROUGH_PROJECT = changed('graph = "orders:graph"\n', "", f'langgraph = "langgraph.json"\n{PLAIN}')


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["desc"] for vector in VECTORS])
def test_a_good_file_comes_to_these_policy_documents(vector: dict[str, Any]) -> None:
    config = parse_config("\n".join(vector["toml"]), FILE)
    assert {name: workflow.policy_document for name, workflow in config.workflows.items()} == vector["policies"]
    assert [*config.warnings] == vector["warnings"]
    for workflow in config.workflows.values():
        assert workflow.policy == parse_policy(json.loads(canonical(dict(workflow.policy_document))))


def service(text: str) -> Service:
    return parse_config(f"{PLAIN}\n{text}", FILE).service


def test_without_a_table_the_service_listens_on_loopback_alone() -> None:
    found = service("")
    assert (found.host, found.port, found.public_url) == ("127.0.0.1", 8321, "http://127.0.0.1:8321")
    assert (found.database, found.worker_database, found.workers, found.try_out) == (None, None, 2, False)
    assert found.sessions.idle == timedelta(minutes=15)
    assert found.engine.attempts == 5


def test_the_service_is_read_as_it_is_written() -> None:
    found = service(
        '[service]\nlisten = "[::1]:0"\npublic_url = "https://signoff.example.org/"\ndatabase = "env:DB"\n'
        'worker_database = "file:secrets/worker"\nworkers = 0\ntry_out = true\n'
        '[service.sessions]\nidle = "5m"\nabsolute = "8h"\n[service.engine]\nrun_limit = "1h 30m"\nattempts = 1\n'
    )
    assert (found.host, found.port, found.public_url) == ("::1", 0, "https://signoff.example.org")
    assert (str(found.database), str(found.worker_database)) == ("env:DB", "file:secrets/worker")
    assert (found.workers, found.try_out, found.sessions.absolute) == (0, True, timedelta(hours=8))
    assert (found.engine.run_limit, found.engine.attempts) == (timedelta(minutes=90), 1)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "[::1]", "localhost"])
def test_known_passwords_are_for_loopback(host: str) -> None:
    assert service(f'[service]\nlisten = "{host}:1"\ntry_out = true\n').try_out


def with_secrets(folder: Path, database: str) -> Config:
    return parse_config(f'{PLAIN}[service]\ndatabase = "{database}"\n', folder / "countersign.toml")


def secret(config: Config, environ: dict[str, str]) -> str:
    (reference,) = config.references
    return config.secret(reference, environ)


def test_a_secret_comes_from_a_variable_or_from_a_file_beside(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("geheim\n")
    assert secret(with_secrets(tmp_path, "env:DB"), {"DB": "geheim"}) == "geheim"
    assert secret(with_secrets(tmp_path, "file:secret"), {}) == "geheim"
    assert secret(with_secrets(tmp_path, f"file:{tmp_path}/secret"), {}) == "geheim"


@pytest.mark.parametrize(
    ("database", "said"),
    [
        ("env:DB", "variable DB is not set"),
        ("file:gone", "file gone cannot be read: No such file"),
        ("file:.", "cannot be read: Is a directory"),
        ("file:empty", "does not hold one line"),
        ("file:two", "does not hold one line"),
        ("file:bytes", "no UTF-8 text"),
    ],
)
def test_a_secret_that_is_not_there_is_told_with_its_line(tmp_path: Path, database: str, said: str) -> None:
    for name, data in {"empty": b" \n", "two": b"geheim\ngeheim\n", "bytes": b"\xff"}.items():
        (tmp_path / name).write_bytes(data)
    config = with_secrets(tmp_path, database)
    with pytest.raises(ConfigurationError, match=f"line {len(PLAIN.splitlines()) + 2}: service.database: .*{said}"):
        secret(config, {"DB": ""})


def test_no_secret_is_shown_by_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "langgraph.json").write_text(PROJECT.replace("small", "geheim"))
    (tmp_path / "countersign.toml").write_text(THROUGH_PROJECT)
    assert "geheim" not in repr(load_config(tmp_path))


def test_the_same_text_in_the_same_place_is_the_same_configuration() -> None:
    assert parse_config(PLAIN, FILE) == parse_config(f"# a comment\n{PLAIN}", FILE)
    assert parse_config(PLAIN, FILE) != parse_config(PLAIN.replace("3650", "3651"), FILE)
    assert parse_config(PLAIN, FILE) != replace(parse_config(PLAIN, FILE), file=Path("/elsewhere/countersign.toml"))


def test_the_name_of_no_workflow_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"no workflow 'order'. There are: orders\."):
        parse_config(PLAIN, FILE).workflow("order")


def test_a_langgraph_project_lists_the_graphs(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "langgraph.json").write_text(PROJECT)
    (tmp_path / "deploy" / "countersign.toml").write_text(
        THROUGH_PROJECT.replace('"langgraph.json"', '"../langgraph.json"')
    )
    config = load_config(tmp_path / "deploy")
    assert config.langgraph is not None
    orders = config.workflow("orders")
    assert orders.graph == GraphAddress("./src/orders.py", "graph", tmp_path)
    assert orders.project == tmp_path
    assert config.langgraph.graphs["other"] == GraphAddress("clinic.other", "make", tmp_path)
    assert config.langgraph.folders == (tmp_path, tmp_path / "src")
    assert config.langgraph.variables == {"MODEL": "small"}
    assert [warning.partition(": ")[2] for warning in config.warnings] == [
        "langgraph: The graph 'other' has no table [workflows.other], and is not served.",
        "langgraph: The graph 'unserved' has no table [workflows.unserved], and is not served.",
    ]


def test_a_graph_of_the_file_goes_before_the_project_s(tmp_path: Path) -> None:
    (tmp_path / "langgraph.json").write_text(PROJECT)
    (tmp_path / "countersign.toml").write_text(f'langgraph = "langgraph.json"\n{PLAIN}')
    assert str(load_config(tmp_path).workflow("orders").graph) == "orders:graph"


def test_a_workflow_that_the_project_does_not_list_is_told(tmp_path: Path) -> None:
    (tmp_path / "langgraph.json").write_text(PROJECT.replace('"orders"', '"order"'))
    (tmp_path / "countersign.toml").write_text(THROUGH_PROJECT)
    with pytest.raises(ConfigurationError, match=r"line 6: workflows.orders: .*langgraph.json has: order, other, uns"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{\n1", "langgraph.json, line 2: no JSON: Expecting property name"),
        (b"\xff", "langgraph.json, line 1: no JSON: it is no UTF-8"),
        (b"[" * 100_000, "langgraph.json, line 1: no JSON"),
        (b" " * (1 << 20) + b"{}", "larger than a mebibyte"),
        (b"[]", "a list, where a table"),
        (b"{}", "It has no `graphs`"),
        (b'{"graphs": []}', "graphs: It is a list, where a table"),
        (b'{"graphs": {"a": 1}}', "graphs.a: It is a whole number, where a text"),
        (b'{"graphs": {"a": {}}}', "graphs.a: It has no `path`"),
        (b'{"graphs": {"a": {"path": "x"}}}', "graphs.a.path: 'x' names no graph"),
        (b'{"graphs": {}, "dependencies": "."}', "dependencies: It is a text, where a list"),
        (b'{"graphs": {}, "env": {"A": 1}}', "env.A: It is a whole number, where a text"),
        (b'{"graphs": {}, "env": []}', "env: It is a list, where a table"),
    ],
)
def test_a_langgraph_project_that_cannot_be_meant_is_told(data: bytes, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_project(data, Path("/nowhere/langgraph.json"))
    assert said in refused.value.message


def test_a_langgraph_project_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "countersign.toml").write_text(THROUGH_PROJECT)
    with pytest.raises(
        ConfigurationError, match=r"toml, line 1: langgraph: langgraph\.json cannot be read: No such file"
    ):
        load_config(tmp_path)

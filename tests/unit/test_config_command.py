"""`countersign init` and `countersign config check`, and that the sample they begin with does what its comments say."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from countersign.service.cli import main
from countersign.service.config.load import load_config
from countersign.service.samples import orders

SAMPLES = Path(str(files("countersign.service.samples")))


def run(*words: str) -> Result:
    return CliRunner().invoke(main, [*words], catch_exceptions=False)


def test_init_writes_what_make_serve_serves(tmp_path: Path) -> None:
    done = run("init", str(tmp_path / "new" / "folder"))
    assert done.exit_code == 0
    written = sorted((tmp_path / "new" / "folder").iterdir())
    assert [file.name for file in written] == ["countersign.toml", "orders.py"]
    assert all(file.read_bytes() == (SAMPLES / file.name).read_bytes() for file in written)
    assert all(str(file) in done.output for file in written)


@pytest.mark.parametrize("name", ["countersign.toml", "orders.py"])
def test_init_overwrites_nothing_and_then_writes_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("nowhere")
    done = run("init", str(tmp_path))
    assert done.exit_code == 2
    assert f"There is {name} in {tmp_path} already" in done.output
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_config_check_says_in_words_what_was_read(tmp_path: Path) -> None:
    run("init", str(tmp_path))
    done = run("config", "check", str(tmp_path / "countersign.toml"))
    assert done.exit_code == 0
    for line in (
        "service: listens on 127.0.0.1:8321, reached as http://127.0.0.1:8321",
        "workflow medication-order: Medication order",
        "  graph: ./orders.py:medication_order",
        "  kept: 3650 days (clinical)",
        "  correct: pharmacist",
        "  send to analyze: supervisor",
        "  where no gate is, supervisor decides",
        '  gate pharmacist: before review runs, "May this order be given?"',
        "    not by who started the case or who corrected it",
        "    approved takes all signatures",
        "    rejected takes one signature, with a reason",
        "    may change first: dose_mg",
        "    reminded after 4h",
        "    after 8h supervisor may sign as well",
        "    after 1d it is rejected",
        '  gate cycles: when plan asks, "How many cycles, at which dose?"',
        "    planned takes all signatures, with values",
        "    after 2d the case is stopped",
        "    signed by physician, then 2 x pharmacist",
        "verdict: good, 0 warnings",
    ):
        assert line in done.output.splitlines()


def test_config_check_tells_what_is_to_be_mended_and_what_to_know(tmp_path: Path) -> None:
    run("init", str(tmp_path))
    file = tmp_path / "countersign.toml"
    text = file.read_text().split("[workflows.chemotherapy]")[0]
    file.write_text(text.replace("days = 3650", "days = 30"))
    good = run("config", "check", str(tmp_path))
    assert good.exit_code == 0
    assert "warning: countersign.toml, line 12: retention.clinical.days: 30 days are fewer than 183" in good.output
    assert good.output.endswith("verdict: good, 1 warning\n")
    file.write_text(text.replace('before = "review"', 'before = "reviews"'))
    bad = run("config", "check", str(tmp_path))
    assert bad.exit_code == 2
    assert "line 30: workflows.medication-order.gates[0].before: The graph has no node 'reviews'." in bad.output
    assert "Its nodes: analyze, review, issue, refuse." in bad.output


def test_config_check_without_a_file_names_what_makes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("config", "check")
    assert (done.exit_code, "countersign init" in done.output) == (2, True)


def test_the_sample_has_each_kind_of_gate() -> None:
    config = load_config(SAMPLES)
    gates = [gate for workflow in config.workflows.values() for gate in workflow.policy.gates]
    assert {gate.when for gate in gates} == {"before", "interrupt"}
    assert max(len(gate.stages) for gate in gates) == 2
    assert {gate.on_expiry for gate in gates} == {"rejected", "refused", "stop"}
    assert any(rule.values for gate in gates for rule in gate.decisions)
    assert any(gate.edit for gate in gates)
    assert config.warnings == ()


DECISIONS = {
    "approved": ({"decision": "approved", "notes": ""}, "GIVE 5 mg warfarin to P-1"),
    "rejected": ({"decision": "rejected", "notes": "allergy"}, "DO NOT GIVE warfarin to P-1: allergy"),
}


@pytest.mark.parametrize(("written", "order"), DECISIONS.values(), ids=DECISIONS.keys())
def test_the_sample_s_order_ends_as_it_was_decided(written: dict[str, str], order: str) -> None:
    graph, config = _compiled("_medication_order", interrupt_before=["review"])
    graph.invoke({"patient": "P-1", "drug": "warfarin"}, config)
    graph.update_state(config, written)
    assert graph.invoke(None, config)["order"] == order


def test_the_sample_s_order_comes_back_with_what_the_notes_made_of_it() -> None:
    graph, config = _compiled("_medication_order", interrupt_before=["review"])
    graph.invoke({"patient": "P-1", "drug": "heparin"}, config)
    graph.update_state(config, {"decision": "needs_revision", "notes": "reduce by 50 %"})
    again = graph.invoke(None, config)
    assert (again["dose_mg"], again["decision"], graph.get_state(config).next) == (30, "", ("review",))
    graph.update_state(config, {"decision": "nonsense"})
    with pytest.raises(ValueError, match="goes on with one of"):
        graph.invoke(None, config)


@pytest.mark.parametrize(("release", "want"), [("released", "PREPARE"), ("refused", "DO NOT PREPARE"), ("", "DO NOT")])
def test_the_sample_s_therapy_asks_and_is_released(release: str, want: str) -> None:
    graph, config = _compiled("_chemotherapy", interrupt_before=["prepare"])
    graph.invoke({"patient": "P-1", "protocol": "R-CHOP"}, config)
    graph.invoke(Command(resume={"cycles": 6, "dose_percent": 80}), config)
    graph.update_state(config, {"release": release})
    order = graph.invoke(None, config)["order"]
    assert order.startswith(want)
    assert order.endswith("6 cycles of R-CHOP at 80 % for P-1")


def _compiled(builder: str, **options: Any) -> tuple[Any, Any]:
    graph = getattr(orders, builder)().compile(checkpointer=InMemorySaver(), **options)
    return graph, {"configurable": {"thread_id": "one"}}

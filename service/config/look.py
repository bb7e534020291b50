"""Looking at a workflow's graph: here, or in a process of its own where its code harms nothing.

The server never imports graph code. It asks a child for what it has to know, and believes it as far as it would believe
the graph's author: a module's code runs when it is imported, and could say anything of itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from countersign.audit.canonical import Json
from countersign.audit.errors import ConfigurationError

from .graphs import Loaded, compiled, folders_of, graph_environment, load_graph
from .model import Config, GraphAddress, WorkflowConfig
from .sources import CodePlan, check_told, code_document, packages_document
from .structure import shape_of_json, structure
from .version import Description, Looked, described

PATIENCE = 120.0
_REFUSED = 2
_LAST_WORDS = 500


def describe(config: Config, workflow: WorkflowConfig, loaded: Loaded) -> Description:
    """Return the version of a workflow whose graph this process has loaded (`graphs.load_workflow`).

    Raises ConfigurationError, with the line, where the policy does not fit the graph or the code cannot be told.
    """
    try:
        looked = _look(loaded, _plan(config, workflow))
    except ConfigurationError as error:
        raise config.error(workflow.path, error.message, error.remedy) from error
    return described(config, workflow, looked)


def describe_in_child(
    config: Config, workflow: WorkflowConfig, environ: Mapping[str, str], *, patience: float = PATIENCE
) -> Description:
    """Return the version of a workflow, as a process of its own finds it: its code is not imported here.

    The child works in the folder of the file, with `environ` but for our own variables and those that hold secrets
    (`graphs.graph_environment`). Raises ConfigurationError, with the line, for what `describe` does, and when the child
    fails, says nothing, or has not answered after `patience` seconds.
    """
    return _described(config, workflow, _ask(config, workflow, graph_environment(config, environ), patience))


def describe_all_in_children(
    config: Config, environ: Mapping[str, str], *, patience: float = PATIENCE
) -> list[Description]:
    """Return what `describe_in_child` does of every workflow, in order: a process for each graph, some at a time.

    Workflows that differ in their rules alone share one process, as they share what it finds.
    """
    given, asked = graph_environment(config, environ), dict[str, Future[dict[str, Any]]]()
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        for workflow in config.workflows.values():
            request = _request(config, workflow)
            if request not in asked:
                asked[request] = threads.submit(_ask, config, workflow, given, patience)
        return [
            _described(config, workflow, asked[_request(config, workflow)].result())
            for workflow in config.workflows.values()
        ]


def _described(config: Config, workflow: WorkflowConfig, answer: Mapping[str, Any]) -> Description:
    looked = Looked(answer["graph"], answer["code"], answer["packages"], shape_of_json(answer["shape"]))
    return described(config, workflow, looked)


def look(request: Mapping[str, Any]) -> dict[str, Json]:
    """Return what the child answers to a request: the three documents and the shape. Imports the graph.

    Raises ConfigurationError as `load_graph` and `describe` do, and when the graph imports a module of its project in a
    way that its sources do not say: that shows only here, in a process that has imported nothing else.
    """
    folders = tuple(Path(folder) for folder in request["folders"])
    address = GraphAddress(request["where"], request["attribute"], Path(request["folder"]))
    plan = CodePlan(Path(request["project"]), tuple(request["files"]), request["image"], (address.folder, *folders))
    loaded = load_graph(address, folders)
    looked = _look(Loaded(compiled(loaded.graph), loaded.module, loaded.appeared), plan)
    check_told(plan, loaded.module, loaded.appeared)
    return {
        "graph": dict(looked.graph),
        "code": dict(looked.code),
        "packages": dict(looked.packages),
        "shape": looked.shape.as_json(),
    }


def _plan(config: Config, workflow: WorkflowConfig) -> CodePlan:
    roots = (workflow.graph.folder, *folders_of(config))
    return CodePlan(workflow.project, workflow.files, workflow.image, roots)


def _look(loaded: Loaded, plan: CodePlan) -> Looked:
    document, shape = structure(loaded.graph)
    return Looked(document, code_document(plan, loaded.module), packages_document(plan.folder), shape)


def _request(config: Config, workflow: WorkflowConfig) -> str:
    request = {
        "where": workflow.graph.where,
        "attribute": workflow.graph.attribute,
        "folder": str(workflow.graph.folder),
        "folders": [str(folder) for folder in folders_of(config)],
        "project": str(workflow.project),
        "files": [*workflow.files],
        "image": workflow.image,
    }
    return json.dumps(request)


def _ask(config: Config, workflow: WorkflowConfig, environ: Mapping[str, str], patience: float) -> dict[str, Any]:
    child = subprocess.Popen(
        # -P: what lies in the folder is importable for the graph, but takes no module's place while we begin.
        [sys.executable, "-P", "-m", "countersign.service.config.look_child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=config.folder,
        env=dict(environ),
        start_new_session=True,
        encoding="utf-8",
        errors="replace",
    )
    place = (*workflow.path, "graph")
    try:
        answer, said = child.communicate(_request(config, workflow), timeout=patience)
    except subprocess.TimeoutExpired:
        _end(child)
        remedy = "What a graph needs to be imported must not wait for anything; see what its module does."
        raise config.error(place, f"Importing {workflow.graph} took longer than {patience:g} s.", remedy) from None
    except BaseException:
        _end(child)
        raise
    return _answer(config, workflow, child.returncode, answer, said)


def _end(child: subprocess.Popen[str]) -> None:
    """End a child that nobody has waited for, with whatever its code has started."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.communicate()


def _answer(config: Config, workflow: WorkflowConfig, code: int, answer: str, said: str) -> dict[str, Any]:
    place = (*workflow.path, "graph")
    try:
        document: dict[str, Any] = json.loads(answer)
    except ValueError:
        words = " ".join(said.split())[-_LAST_WORDS:]
        sentence = f"The process that imported {workflow.graph} ended with {code}, saying: {words or 'nothing'}"
        raise config.error(place, sentence, "Import it in a Python of your own to see why.") from None
    if code == _REFUSED:
        raise config.error(place, document["message"], document["remedy"])
    return document

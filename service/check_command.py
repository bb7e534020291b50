"""The command `countersign check`: what would be recorded of a graph, and what to change before it is attached."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import click

from countersign.audit.inspection import Inspection, Node, Part, Remark, inspect_graph

from .config.graphs import load_graph, split_address
from .config.model import GraphAddress


def check_graph(target: str, *, as_json: bool) -> bool:
    """Print what was found of the graph that `target` names, and return whether nothing has to be changed.

    Raises ConfigurationError, a sentence with its remedy, when there is no such graph. What the imported code prints
    goes to the error output.
    """
    with redirect_stdout(sys.stderr):
        where, name = split_address(target)
        found = inspect_graph(load_graph(GraphAddress(where, name, Path.cwd())).graph)
    click.echo(json.dumps(found.as_json(), indent=2) if as_json else "\n".join(_lines(found)))
    return found.ready


def _lines(found: Inspection) -> Iterator[str]:
    yield f"graph: {found.name}"
    for part in found.parts:
        yield from _part_lines(part)
    must = [remark for remark in found.remarks if remark.must]
    know = [remark for remark in found.remarks if not remark.must]
    if must:
        yield "to change:"
    for remark in must:
        yield from _remark_lines(remark)
    if know:
        yield "to know:"
    for remark in know:
        yield from _remark_lines(remark)
    yield "verdict: nothing to change" if found.ready else f"verdict: {len(must)} to change"


def _part_lines(part: Part) -> Iterator[str]:
    if part.path:
        yield f"subgraph in {part.path}: checkpoints {part.checkpoints}"
    if part.channels:
        yield "state, and how it is shown:"
    wide = max((len(channel.name) for channel in part.channels), default=0)
    for channel in part.channels:
        yield f"  {channel.name:<{wide}}  {channel.type}: {channel.shown}"
    yield "nodes:"
    for node in part.nodes:
        said = _said(node)
        yield f"  {node.name}" + (f": {', '.join(said)}" if said else "")


def _said(node: Node) -> list[str]:
    return [
        *(f"pauses {when} it" for when in node.pauses),
        *(["may ask"] if node.may_ask else []),
        *([f"may go to {' or '.join(node.goes_to)}"] if node.goes_to else []),
        *(["awaited only"] if node.awaited_only else []),
        *([f"up to {node.attempts} attempts"] if node.attempts else []),
    ]


def _remark_lines(remark: Remark) -> Iterator[str]:
    yield f"  {f'{remark.where}: ' if remark.where else ''}{remark.message}"
    if remark.remedy:
        yield f"    {remark.remedy}"

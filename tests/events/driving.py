"""Carrying out the steps of a scenario, sync or async, by invoke, stream or batch, and finishing what broke off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langgraph.types import Command

from countersign.audit import acting_as, attach
from events import systems
from events.scenarios import Edit, Run, Scenario, Seen, Step

PERSON = "pharmacist-17"
_ATTEMPTS = 10
Told = Callable[[], None]


def attached(scenario: Scenario, saver: Any, *, finishing: bool = False) -> Any:
    """Return the graph of a scenario, attached; `finishing` the one that comes to an end."""
    build = (scenario.mended or scenario.build) if finishing else scenario.build
    return attach(build(), saver, name="events", version="1")


def drive(scenario: Scenario, saver: Any, thread: str, way: str, done: Told = lambda: None) -> None:
    """Carry out a scenario on the sync saver; `done` is called behind each step."""
    graph = attached(scenario, saver)
    config: Any = {"configurable": {"thread_id": thread}}
    for step in scenario.steps:
        seen = _look(graph, config) if _looks(step) else None
        with acting_as(PERSON):
            if isinstance(step, Edit):
                graph.bulk_update_state(_config(step, config, seen), step.steps)
            elif step.raises:
                with pytest.raises(step.raises):
                    _run(graph, step, _config(step, config, seen), seen, way)
            else:
                _run(graph, step, _config(step, config, seen), seen, way)
        done()


async def adrive(scenario: Scenario, saver: Any, thread: str, way: str, done: Told = lambda: None) -> None:
    """As `drive`, on the async saver."""
    graph = attached(scenario, saver)
    config: Any = {"configurable": {"thread_id": thread}}
    for step in scenario.steps:
        seen = await _alook(graph, config) if _looks(step) else None
        with acting_as(PERSON):
            if isinstance(step, Edit):
                await graph.abulk_update_state(_config(step, config, seen), step.steps)
            elif step.raises:
                with pytest.raises(step.raises):
                    await _arun(graph, step, _config(step, config, seen), seen, way)
            else:
                await _arun(graph, step, _config(step, config, seen), seen, way)
        done()


def finish(scenario: Scenario, saver: Any, thread: str) -> Any:
    """Bring a thread to its end, as somebody would who comes back to it after a crash: look, answer, resume.

    Returns the values it ended with.
    """
    graph = attached(scenario, saver, finishing=True)
    config: Any = {"configurable": {"thread_id": thread}}
    for _ in range(_ATTEMPTS):
        given = _next(scenario, graph.get_state(config))
        try:
            graph.invoke(given, config)
        except RuntimeError:
            continue  # the printer is still off
        state = graph.get_state(config)
        if not state.next:
            return state.values
    return pytest.fail("the thread came to no end")


async def afinish(scenario: Scenario, saver: Any, thread: str) -> Any:
    """As `finish`."""
    graph = attached(scenario, saver, finishing=True)
    config: Any = {"configurable": {"thread_id": thread}}
    for _ in range(_ATTEMPTS):
        given = _next(scenario, await graph.aget_state(config))
        try:
            await graph.ainvoke(given, config)
        except RuntimeError:
            continue
        state = await graph.aget_state(config)
        if not state.next:
            return state.values
    return pytest.fail("the thread came to no end")


def _next(scenario: Scenario, state: Any) -> Any:
    if "checkpoint_id" not in state.config["configurable"]:
        return scenario.input
    return Command(resume={item.id: "yes" for item in state.interrupts}) if state.interrupts else None


def _looks(step: Step) -> bool:
    return step.at is not None or (isinstance(step, Run) and callable(step.given))


def _look(graph: Any, config: Any) -> Seen:
    return Seen(graph.get_state(config, subgraphs=True), [*graph.get_state_history(config)])


async def _alook(graph: Any, config: Any) -> Seen:
    state = await graph.aget_state(config, subgraphs=True)
    return Seen(state, [found async for found in graph.aget_state_history(config)])


def _config(step: Step, config: Any, seen: Seen | None) -> Any:
    limit = step.options.get("recursion_limit") if isinstance(step, Run) else None
    at = step.at(seen).config if step.at and seen else config
    return {**at, **({"recursion_limit": limit} if limit else {})}


def _given(step: Run, seen: Seen | None) -> Any:
    return step.given(seen) if seen and callable(step.given) else step.given


def _options(step: Run) -> dict[str, Any]:
    return {name: value for name, value in step.options.items() if name != "recursion_limit"}


def _run(graph: Any, step: Run, config: Any, seen: Seen | None, way: str) -> None:
    given, options = _given(step, seen), _options(step)
    if step.way == "abandon":
        chunks = graph.stream(given, config, **options)
        next(chunks)
        chunks.close()
    elif way == "stream":
        for _ in graph.stream(given, config, **options):
            pass
    elif way == "batch":
        graph.batch([given], [config], **options)
    else:
        graph.invoke(given, config, **options)


async def _arun(graph: Any, step: Run, config: Any, seen: Seen | None, way: str) -> None:
    given, options = _given(step, seen), _options(step)
    if step.way == "cancel":
        task = asyncio.create_task(graph.ainvoke(given, config, **options))
        await asyncio.to_thread(systems.hangings[-1].begun.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    elif step.way == "abandon":
        chunks = graph.astream(given, config, **options)
        await anext(chunks)
        await chunks.aclose()
    elif way == "stream":
        async for _ in graph.astream(given, config, **options):
            pass
    elif way == "batch":
        await graph.abatch([given], [config], **options)
    else:
        await graph.ainvoke(given, config, **options)

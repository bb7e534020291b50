"""Measuring by ratio: the sides take turns in one run, and medians are compared, since machines are noisy."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).with_name("results.json")


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table: what was wanted, what was measured. `less` says that smaller is better."""

    name: str
    goal: float
    measured: float
    unit: str
    less: bool = True

    @property
    def met(self) -> bool:
        """Whether the measured figure reaches the goal."""
        return self.measured <= self.goal if self.less else self.measured >= self.goal


async def in_turns(
    sides: Mapping[str, Callable[[], Awaitable[None]]], *, rounds: int, warm_up: int = 5
) -> dict[str, float]:
    """Return the median seconds of each side, each run once a round."""
    for _ in range(warm_up):
        for side in sides.values():
            await side()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            start = time.perf_counter()
            await side()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def report(goals: list[Goal]) -> None:
    """Print goal and figure side by side, and put them into results.json beside those of other benchmarks."""
    width = max(len(goal.name) for goal in goals)
    print(f"{'':{width}}  {'goal':>8}  {'measured':>8}")
    for goal in goals:
        verdict = "met" if goal.met else "NOT MET"
        print(f"{goal.name:{width}}  {goal.goal:>8.2f}  {goal.measured:>8.2f} {goal.unit:<6} {verdict}")
    earlier = json.loads(RESULTS.read_text())["goals"] if RESULTS.exists() else []
    names = {goal.name for goal in goals}
    rows = [row for row in earlier if row["name"] not in names]
    rows += [{k: v for k, v in asdict(goal).items() if k != "less"} | {"met": goal.met} for goal in goals]
    RESULTS.write_text(json.dumps({"goals": rows}, indent=2) + "\n")

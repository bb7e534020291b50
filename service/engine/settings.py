"""What a worker is told when it begins, by the process that started it: over its input, which no other can read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ..config.graphs import graph_environment
from ..config.model import Config

ALSO = "COUNTERSIGN_WORKER_ENV"
"""Names of further variables that graphs need, separated by commas, such as the key of a model's provider."""

_PASSED = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV", "SSL_CERT_FILE",
        "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy",
        "no_proxy", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TERM", "SHELL",
    }
)  # fmt: skip
_PASSED_FAMILIES = ("LC_", "PYTHON", "OMP_", "CUDA_", "COV_")
# What a graph's state is, is nobody's affair but the trail's: no copy of it leaves for a tracing service.
_SET = {"LANGSMITH_TRACING": "false", "LANGCHAIN_TRACING_V2": "false", "LANGGRAPH_STRICT_MSGPACK": "true"}


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """One worker process: where it connects, its home of keys, the configuration, and how many cases at a time."""

    url: str
    home: str
    config: str
    concurrency: int = 4

    def text(self) -> str:
        """Return it as a line."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def of(cls, line: str) -> WorkerSettings:
        """Return what `text` wrote."""
        return cls(**json.loads(line))


def worker_environment(config: Config, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a worker process: those every program needs, and what its graphs were given by name.

    That is what a langgraph.json sets, and what COUNTERSIGN_WORKER_ENV names. Nothing else of `environ` is passed on,
    so no secret of the server is; our own variables are not even if they are named.
    """
    named = {name.strip() for name in environ.get(ALSO, "").split(",")}
    passed = {name: value for name, value in environ.items() if name in named or _is_common(name)}
    of_graphs = graph_environment(config, {})
    return graph_environment(config, passed) | of_graphs | _SET


def _is_common(name: str) -> bool:
    return name in _PASSED or name.startswith(_PASSED_FAMILIES)

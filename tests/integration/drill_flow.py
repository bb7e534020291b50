"""The workflow of the drill, whose last node does something in the world, and the receiver that counts what is done."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ORDERS, HURRIED = "orders", "hurried"
HURRY = 3
"""Seconds after which a review of HURRIED expires."""

_GRAPH = '''
"""A graph whose last node does something in the world."""

import json
from typing import TypedDict
from urllib.request import Request, urlopen

from langgraph.graph import END, START, StateGraph

RECEIVER = "%(receiver)s"


class Order(TypedDict, total=False):
    patient: str
    dose_mg: int
    decision: str
    given: str


def analyze(state: Order):
    return {"dose_mg": 10}


def act(state: Order, config):
    place = config["configurable"]
    effect = {"case": place["thread_id"], "decision": state["decision"], "dose_mg": state["dose_mg"]}
    key = place["countersign_effect_key"]
    with urlopen(Request(f"{RECEIVER}/{key}", json.dumps(effect).encode(), method="PUT"), timeout=30):
        return {"given": f"{state['decision']}: {state['dose_mg']}"}


builder = StateGraph(Order)
builder.add_node("analyze", analyze)
builder.add_node("act", act)
builder.add_edge(START, "analyze")
builder.add_edge("analyze", "act")
builder.add_edge("act", END)
graph = builder.compile()
'''
_HEAD = """
[service]
listen = "127.0.0.1:0"
workers = 1
[retention.short]
days = 200
"""
_WORKFLOW = """
[workflows.%(name)s]
graph = "./flow.py:graph"
retention = "short"
[workflows.%(name)s.roles]
start = ["prescriber"]
correct = ["corrector"]
stop = ["supervisor"]
fallback = "supervisor"
[[workflows.%(name)s.gates]]
name = "pharmacist"
before = "act"
question = "May it?"
role = "pharmacist"
%(times)s
[workflows.%(name)s.gates.decisions.approved]
meaning = "As it is."
releases = true
write = { decision = "$decision" }
[workflows.%(name)s.gates.decisions.halved]
meaning = "Half of it."
releases = true
write = { decision = "$decision" }
[workflows.%(name)s.gates.decisions.rejected]
meaning = "No."
write = { decision = "$decision" }
[workflows.%(name)s.gates.edit]
meaning = "I changed it."
values = { type = "object", properties = { dose_mg = { type = "integer", minimum = 1 } } }
"""


class Receiver:
    """Has each effect once: whatever else comes under a key that it has, it answers and forgets."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.effects: dict[str, dict[str, Any]] = {}
        self.asked = 0

    def take(self, key: str, effect: dict[str, Any]) -> None:
        with self._lock:
            self.asked += 1
            self.effects.setdefault(key, effect)

    def of(self, case: str) -> list[dict[str, Any]]:
        with self._lock:
            return [effect for effect in self.effects.values() if effect["case"] == case]


@contextmanager
def receiving(receiver: Receiver) -> Iterator[str]:
    """Yield the address of a receiver."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            effect = json.loads(self.rfile.read(int(self.headers["content-length"])))
            receiver.take(self.path.strip("/"), effect)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def configured(folder: Path, receiver: str) -> Path:
    """Return a folder with a configuration of both workflows, whose effects go to `receiver`."""
    times = f'expire_after = "{HURRY}s"\non_expiry = "rejected"'
    workflows = [_WORKFLOW % {"name": ORDERS, "times": ""}, _WORKFLOW % {"name": HURRIED, "times": times}]
    (folder / "countersign.toml").write_text("".join([_HEAD, *workflows]))
    (folder / "flow.py").write_text(_GRAPH % {"receiver": receiver})
    return folder

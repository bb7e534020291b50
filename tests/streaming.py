"""Reading a stream of events beside what a test does."""

from __future__ import annotations

import threading
from typing import Any

import httpx

from serving import PATIENCE, Server


class Heard:
    """What a stream of events has said so far."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.news = threading.Condition()
        self.ended = threading.Event()

    def until(self, wanted: Any) -> None:
        with self.news:
            assert self.news.wait_for(lambda: any(wanted(*event) for event in self.events), PATIENCE), self.events


class Stream:
    """Reads a stream of events in a thread until the block ends; it has said that it listens before that begins."""

    def __init__(self, site: Server, headers: dict[str, str]) -> None:
        self.client = httpx.Client(timeout=PATIENCE)
        self.request = self.client.build_request("GET", f"{site.url}/api/events", headers=headers)
        self.heard = Heard()
        self.thread = threading.Thread(target=self._read)

    def __enter__(self) -> Heard:
        self.response = self.client.send(self.request, stream=True)
        assert self.response.status_code == 200, self.response.read()
        self.thread.start()
        self.heard.until(lambda event, _: event == "all")
        return self.heard

    def __exit__(self, *_: object) -> None:
        self.thread.join(PATIENCE)
        self.client.close()

    def _read(self) -> None:
        event = ""
        for line in self.response.iter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                event = value
            elif name == "data" or (line == "data:"):
                with self.heard.news:
                    self.heard.events.append((event, value))
                    self.heard.news.notify_all()
        self.heard.ended.set()

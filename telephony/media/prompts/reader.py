"""Reads prompts that are not in memory, beside the tick: a disk that hangs, or a long file that has to be resampled,
must not delay anybody's audio. A thread, because all it does at length happens outside the interpreter lock.
"""

import queue
import threading
from dataclasses import dataclass
from typing import Generic, TypeVar

from telephony.media.g711 import Samples
from telephony.media.prompts import PromptError, PromptLibrary

Asker = TypeVar("Asker")


@dataclass(frozen=True, slots=True)
class Reading(Generic[Asker]):
    """What was read for ``asker``: the samples of all names in their order, or the error of the first that has one."""

    asker: Asker
    parts: list[Samples] | PromptError


class PromptReader(Generic[Asker]):
    """One thread, started when it is first needed; it does not keep the process alive."""

    def __init__(self, library: PromptLibrary) -> None:
        self._library = library
        self._asked: queue.SimpleQueue[tuple[Asker, tuple[str, ...], str]] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Reading[Asker]] = queue.SimpleQueue()
        self._read_one = threading.Event()
        self._thread: threading.Thread | None = None
        self.waiting = 0
        """Requests that `finished` has not returned yet."""

    def ask(self, asker: Asker, names: tuple[str, ...], language: str) -> None:
        """Read these; `finished` tells."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="prompts", daemon=True)
            self._thread.start()
        self.waiting += 1
        self._asked.put((asker, names, language))

    def finished(self) -> list[Reading[Asker]]:
        """What has been read since the last call."""
        found: list[Reading[Asker]] = []
        while self.waiting:
            try:
                found.append(self._done.get_nowait())
            except queue.Empty:
                break
            self.waiting -= 1
        return found

    def join(self) -> None:
        """Wait until all that was asked is read; for tests."""
        while self._done.qsize() < self.waiting:
            self._read_one.wait()
            self._read_one.clear()

    def _run(self) -> None:
        while True:
            asker, names, language = self._asked.get()
            parts: list[Samples] | PromptError
            try:
                parts = [self._library.samples(name, language) for name in names]
            except PromptError as error:
                parts = error
            except Exception as error:  # whoever waits for the prompt must be told, whatever it was
                parts = PromptError(f"{type(error).__name__}: {error}")
            self._done.put(Reading(asker, parts))
            self._read_one.set()

"""A campaign in full swing on a real site, and what must be true of it at the end, whatever was killed meanwhile."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg

from ocsd.demo import report
from ocsd.demo.processes import end, json_file, wait_for
from ocsd.demo.run import attempts_and_statuses
from ocsd.model.enums import CallResult, DialMode, GroupCampStatus, RecordStatus
from telephony import launcher
from telephony.procs import ProcessIdentity
from telephony.simworld.numbers import number_for
from tests.e2e.site import GROUP, Site, eventually, outside_world, site

TALK_S = 5.0
"""Mean conversation, unless a test wants another."""
TALK_CV = 0.12
SHORTEST_TALK_SHARE = 0.6
"""Of the mean: the agents' habits vary so little that none is planned shorter."""
MIDDLE_AFTER_S = 1.5
"""By then who is connected has heard the agent."""
SURE_OF_S = 1.0
"""So much of a conversation in its middle is still to come, whatever its length."""
NEWS_S = 0.4
"""An answer that took longer than this is asked for again."""
WRAP_S = 1.0
RING_SCALE = 0.2
AGENTS = 6
RECORDS = 150
"""More than any test gets through."""

BY_VOICE = {"human": CallResult.ANSWER, "machine": CallResult.ANSWERING_MACHINE}
"""Told from each other by the analysis alone, with the error that it has."""

Truth = dict[str, Any]


@dataclass
class Campaign:
    """The world around a site. Times are monotonic seconds, the clock of the truth logs as well."""

    site: Site
    carrier: subprocess.Popen[bytes]
    agents: subprocess.Popen[bytes]
    folder: Path
    records: int
    talk_s: float
    killed: list[str] = field(default_factory=list)
    last_kill_s: float = 0.0

    # --- running ------------------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        return bool(self.site.client.status(GROUP)["GSW_CM_AttrGroupCampStatus"] == GroupCampStatus.RUNNING)

    def figure(self, name: str) -> float:
        return float(self.site.statistics().get(name) or 0)

    def await_conversations(self, count: int, in_middle: int = 1) -> None:
        """
        Until so many people have been talking for a second and more, and ``in_middle`` of them are in the middle of it.

        In the middle: long enough connected to have heard the agent, and not about to say goodbye even if it is one of
        the shortest. Without that all of them may be over when the caller does what it waited for: the journal learns
        of an end a little later than the people.
        """
        middle_s = MIDDLE_AFTER_S, SHORTEST_TALK_SHARE * self.talk_s - SURE_OF_S
        assert middle_s[0] < middle_s[1], "conversations are too short to meet anybody in the middle of one"
        middle = "connected_at BETWEEN now() - make_interval(secs => {1}) AND now() - make_interval(secs => {0})"
        query = (
            f"SELECT (count(*) >= {count} AND"
            f" count(*) FILTER (WHERE {middle.format(*middle_s)}) >= {in_middle})::integer"
            " FROM ocsd.attempt"
            " WHERE finished_at IS NULL AND agent_released_at IS NULL AND connected_at < now() - interval '1.3 s'"
        )

        def talking() -> bool:
            if self.figure("agents_talking") < count:
                return False
            asked_s = time.monotonic()
            return self.count(query) == 1 and time.monotonic() - asked_s < NEWS_S  # older news tell of the past

        eventually(f"{count} conversations", talking)

    def await_calls(self, calls: int) -> None:
        """Until the journal holds that many attempts."""
        eventually(f"{calls} attempts", lambda: self.attempts_begun() >= calls)

    def attempts_begun(self) -> int:
        return self.count("SELECT count(*) FROM ocsd.attempt")

    def count(self, query: str) -> int:
        """The one figure that a query gives, as soon as the database answers."""

        def ask() -> tuple[int] | None:
            try:
                return (int(self.site.query(query)[0][0]),)
            except psycopg.OperationalError:
                return None

        return int(eventually("an answer of the database", ask)[0])

    def kill(self, what: str, pid: int) -> float:
        """SIGKILL one process; returns when (monotonic)."""
        self.killed.append(what)
        os.kill(pid, signal.SIGKILL)
        self.last_kill_s = time.monotonic()
        return self.last_kill_s

    def kill_something(self, what: str, chance: random.Random) -> None:
        """A daemon is started again at once; everything else has to come back by itself."""
        match what:
            case "daemon":
                self.kill_daemon()
                self.site.start_daemon()
            case "worker":
                self.kill("worker", chance.choice(self.all_worker_pids()))
            case "media":
                self.kill_media()
            case "postgres":
                self.kill_postgres()

    def kill_daemon(self) -> float:
        self.killed.append("daemon")
        self.site.kill_daemon()
        self.last_kill_s = time.monotonic()
        return self.last_kill_s

    def kill_pool_parent(self) -> int:
        pid = launcher.server_pids(self.folder / "run")["telephony"]
        self.kill("pool", pid)
        return pid

    def kill_media(self) -> tuple[int, float]:
        pid = self.site.media_pid()
        return pid, self.kill("media", pid)

    def kill_postgres(self) -> tuple[int, float]:
        pid = self.site.postgres.server_pid()
        assert pid is not None
        return pid, self.kill("postgres", pid)

    def all_worker_pids(self) -> list[int]:
        """Workers of every parent, by the locks of their slots."""
        found = [ProcessIdentity.read(lock) for lock in sorted((self.folder / "run").glob("worker-*.lock"))]
        return [identity.pid for identity in found if identity is not None and identity.alive]

    def new_server(self, part: str, dead: int) -> bool:
        return launcher.server_pids(self.folder / "run").get(part, dead) != dead

    def lost_legs(self) -> list[str]:
        """Legs that the daemon says died with their workers."""
        found: list[str] = []
        for line in self.site.log_text().splitlines():
            if '"worker.lost"' in line:
                found += json.loads(line)["leg_ids"]
        return found

    def was_lost(self, truth: Truth, outcome: "Outcome") -> bool:
        """Did a leg of this call die with its worker?"""
        attempt = outcome.attempt_of(truth)
        return attempt is not None and any(leg.startswith(f"a{attempt.attempt_id}-") for leg in self.lost_legs())

    # --- the end ------------------------------------------------------------------------------------------------

    def finish(self) -> "Outcome":
        """Complete the group, let everything end by itself, close the world, and collect what everybody knows."""
        self.site.client.complete(GROUP)
        eventually(
            "the group is unloaded",
            lambda: self.site.client.status(GROUP)["GSW_CM_AttrGroupCampStatus"] == GroupCampStatus.NOT_LOADED,
        )
        for process in (self.agents, self.carrier):
            end(process)
        self.count("SELECT 1")  # it may be just coming back
        attempts, statuses, results = attempts_and_statuses(self.site.config, self.site.dsn)
        summary = json.loads((self.folder / "agents.log").read_text().splitlines()[-1])
        return Outcome(
            records=self.records,
            talk_s=self.talk_s,
            attempts=attempts,
            statuses=statuses,
            results=results,
            truths=json_lines(self.folder / "carrier.jsonl"),
            phones=json_lines(self.folder / "phones.jsonl"),
            desks=json_lines(self.folder / "desks.jsonl"),
            summary=summary,
            killed=self.killed,
        )


@dataclass(frozen=True)
class Outcome:
    records: int
    talk_s: float
    attempts: list[report.AttemptRow]
    statuses: dict[int, int]
    results: dict[int, int]
    truths: list[Truth]
    phones: list[Truth]
    desks: list[Truth]
    summary: dict[str, Any]
    killed: list[str]

    def assert_nothing_lost_or_doubled(self) -> None:
        """The promises that hold whatever is killed."""
        story = f"killed: {self.killed}; statuses {self.statuses}; results {self.results}"
        assert report.double_dialed(self.truths) == 0, story
        assert report.lost(self.records, self.statuses, self.attempts, self.truths) == 0, story
        assert self.statuses.get(int(RecordStatus.RETRIEVED), 0) == 0, story

    def talking_at(self, at_s: float, margin_s: float = 0.5) -> list[Truth]:
        """Calls in conversation with an agent at that instant and a little before and after."""
        return [
            truth
            for truth in self.conversations()
            if truth.get("talk_began_at_s") is not None
            and truth["talk_began_at_s"] < at_s - margin_s
            and truth["ended_at_s"] > at_s + margin_s
        ]

    def cut(self, among: list[Truth]) -> list[Truth]:
        """Conversations that did not end by the will of the people in them."""
        return [
            truth
            for truth in among
            if truth["why"] not in ("bye", "talk_over")
            or truth["ended_at_s"] - truth["talk_began_at_s"] < SHORTEST_TALK_SHARE * self.talk_s
        ]

    def conversations(self) -> list[Truth]:
        """Calls in which an agent was heard; the drop announcement is no conversation."""
        return [truth for truth in self.truths if truth.get("agent_heard")]

    def dialed_after(self, at_s: float) -> list[Truth]:
        return [truth for truth in self.truths if truth["invited_at_s"] > at_s]

    def under_way_at(self, at_s: float) -> list[Truth]:
        """Invited and not over at that instant: ringing, under analysis, waiting or talking."""
        return [truth for truth in self.truths if truth["invited_at_s"] < at_s < truth["ended_at_s"]]

    def attempt_of(self, truth: Truth) -> report.AttemptRow | None:
        """The attempt that made this call: the last one of its number, as earlier ones did not get out."""
        number = truth["number"].lstrip("+")
        return next((a for a in reversed(self.attempts) if a.phone.lstrip("+") == number), None)

    def result_of(self, truth: Truth) -> int | None:
        attempt = self.attempt_of(truth)
        return attempt.call_result if attempt is not None else None

    def wrong(self, among: list[Truth]) -> list[tuple[str, str]]:
        """
        Results that are not what the number really did. Stale says that nobody knows, and is judged elsewhere.

        So is who is taken for a machine by the voice, or the other way round (docs/cpa.md).
        """
        return [
            (str(truth["class"]), report.title_of(result))
            for truth in among
            if (result := self.result_of(truth)) is not None
            and result not in report.NOT_JUDGED
            and truth["class"] != report.CANCELLED
            and result not in report.expected_results(truth)
            and not (truth["class"] in BY_VOICE and result in BY_VOICE.values())
        ]

    def figures(self) -> dict[str, Any]:
        """For the log of the test."""
        return {
            "calls": len(self.truths),
            "results": {report.title_of(code): count for code, count in sorted(self.results.items())},
            "conversations": len(self.conversations()),
            "resumed": self.summary["resumed"],
            "stale": sum(a.call_result == CallResult.STALE for a in self.attempts),
            "killed": self.killed,
        }


def json_lines(path: Path) -> list[Truth]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@contextmanager
def campaign(
    mix: dict[str, float] | None = None,
    seed: int = 7,
    talk_s: float = TALK_S,
    lines: float = 1.5,
    records: int = RECORDS,
    edit: Callable[[str], str] = lambda text: text,
) -> Iterator[Campaign]:
    """
    Dialing with ``lines`` per agent, all agents ready; ``mix`` is of called numbers (default: people only). ``edit``
    may change the configuration's text further.
    """
    with ExitStack() as stack:
        # The trunk's port must be known before the site is written, so the carrier comes first, in a folder of its own.
        carrier_folder = Path(stack.enter_context(TemporaryDirectory(prefix="ocsd-e2e-carrier-")))
        ready = carrier_folder / "ready.json"
        mix_file = carrier_folder / "mix.json"
        mix_file.write_text(json.dumps({"mix": mix or {"human": 1.0}}))
        truth_file = carrier_folder / "carrier.jsonl"
        carrier = stack.enter_context(
            outside_world(
                [
                    "telephony.simworld.main", f"--seed={seed}", f"--mix={mix_file}", f"--truth={truth_file}",
                    f"--ready-file={ready}", f"--ring-scale={RING_SCALE}", f"--talk-mean-s={talk_s}",
                    "--customer-ends-share=0", "--patience-s=12",
                ],
                carrier_folder / "carrier.log",
            )
        )  # fmt: skip
        ports = wait_for("the simulated carrier", lambda: json_file(ready), carrier, carrier_folder / "carrier.log")
        with site(ports["carrier_port"], agents=AGENTS, edit=lambda text: edit(_patient(lines, text))) as place:
            (place.folder / "carrier.jsonl").symlink_to(truth_file)
            place.add_records([(number_for(index), f"Customer {index}") for index in range(records)])
            place.start_daemon()
            options = [
                f"--phones-truth={place.folder / 'phones.jsonl'}",
                f"--agent-log={place.folder / 'desks.jsonl'}",
                f"--seed={seed}",
                f"--talk-mean-s={talk_s}",
                f"--talk-cv={TALK_CV}",
                f"--wrap-mean-s={WRAP_S}",
            ]
            world = place.start_agents(AGENTS, *options)
            running = Campaign(place, carrier, world, place.folder, records, talk_s)
            place.client.load(GROUP)
            eventually("all agents are ready", lambda: running.figure("agents_ready") == AGENTS)
            place.client.start(GROUP, DialMode.PROGRESSIVE)
            yield running


def _patient(lines: float, text: str) -> str:
    """Rings shorter than usual, and no bound on abandonment: the tests are about other things."""
    options = "record_processed = true, stale_clean_timeout = 5"
    assert options in text
    return text.replace(
        options,
        f"{options}, call_wait_connected_timeout = 15, max_overdial_rate = 50, progressive_dial_factor = {lines}",
    )

"""Recordings of the analysis that agents have labelled, as a folder for ``ocsd cpa score``: WAV files and their truth.

A label is what an agent said of a call: the result that the desktop sent. People who talk with an agent are rarely
reported as people, so a conversation of some length may be taken for that as well; the manifest says which of the two a
label rests on. Telephone numbers and names are not exported; voices are.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import file_digest
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Final

import psycopg

from ocsd.config.objects import Configuration
from ocsd.cpa.manifest import MANIFEST
from ocsd.model.enums import CallResult
from ocsd.model.errors import StoreUnavailable
from telephony.contract import VerdictKind

Connection = psycopg.Connection[Any]

LABEL: Final = MappingProxyType(
    {
        CallResult.ANSWER: "human",
        CallResult.WRONG_PARTY: "human",
        CallResult.WRONG_NUMBER: "human",
        CallResult.DO_NOT_CALL: "human",
        CallResult.ANSWERING_MACHINE: "machine",
        CallResult.FAX: "fax",
        CallResult.BUSY: "busy",
        CallResult.ALL_TRUNKS_BUSY: "reorder",
        CallResult.SILENCE: "silence",
        CallResult.PAGER: "pager",
        CallResult.NU_TONE: "nu",
        CallResult.SIT_DETECTED: "sit",
        CallResult.SIT_INTERCEPT: "sit_ic",
        CallResult.SIT_VACANT_CODE: "sit_vc",
        CallResult.SIT_REORDER: "sit_ro",
        CallResult.SIT_NO_CIRCUIT: "sit_nc",
        CallResult.SIT_UNKNOWN: "sit_io",
    }
)
"""Labels of a manifest by the call results that agents send; others say nothing about what was heard."""

FOLDER_MODE: Final = 0o750
FILE_MODE: Final = 0o640
"""As the media server makes its own: voices are not for everybody who has an account."""

LATE_S: Final = 0.25
"""A recording begins with the 20 ms after the daemon has heard of the answer."""

_FOUND: Final = """
    SELECT r.path, r.sha256, r.began_at, a.attempt_id, a.campaign_dbid, a.switch_dbid, a.answered_at, a.speech_end_at,
           a.agent_result, a.cpa_verdict, a.verified IS TRUE, a.evidence -> 'cpa' ->> 'tone_plan',
           extract(epoch FROM a.agent_released_at - a.agent_answered_at)::float8
    FROM ocsd.cpd_recording AS r JOIN ocsd.attempt AS a USING (attempt_id)
    WHERE r.error = '' AND a.finished_at IS NOT NULL AND a.answered_at IS NOT NULL
      AND a.started_at >= %(since)s AND a.started_at < %(until)s
      AND (%(campaign)s::int IS NULL OR a.campaign_dbid = %(campaign)s)
      AND a.agent_id IS NOT NULL  -- a result that an application has set without an agent says nothing of the sound
      AND (a.agent_result IS NOT NULL OR %(talked)s::float8 IS NOT NULL)
    ORDER BY a.attempt_id, r.path
    """


@dataclass(frozen=True, slots=True)
class Labelled:
    """
    One recording and what is known of its call.

    Attributes:
        path: below the recording folder.
        talked_s: how long an agent talked with whoever answered; None: no agent did.
    """

    path: str
    sha256: str
    began_at: datetime
    attempt_id: int
    campaign_dbid: int
    switch_dbid: int | None
    answered_at: datetime
    speech_end_at: datetime | None
    agent_result: int | None
    verdict: str | None
    verified: bool
    tone_plan: str | None
    talked_s: float | None

    def label(self, talked_s: float | None) -> tuple[str, str] | None:
        """The label and what it rests on; None: nobody knows. ``talked_s``: a conversation so long was a person's."""
        if self.agent_result is not None:
            try:
                label = LABEL.get(CallResult(self.agent_result))
            except ValueError:
                label = None
            return None if label is None else (label, "agent")
        # An agent may listen to a long greeting: what was taken for a machine is a person only by the agent's word.
        machine = self.verdict == str(VerdictKind.MACHINE)
        if talked_s is not None and self.talked_s is not None and self.talked_s >= talked_s and not machine:
            return "human", "conversation"
        return None

    @property
    def begins_late(self) -> bool:
        """The greeting is not on it, or not from its beginning: a media server was restarted."""
        return (self.began_at - self.answered_at).total_seconds() > LATE_S

    @property
    def answered_s(self) -> float:
        """Of the recording, which may begin with early media."""
        return max(0.0, (self.answered_at - self.began_at).total_seconds())


@dataclass(slots=True)
class Exported:
    """``labels``: how many of each; ``left_out``: how many by the reason."""

    labels: Counter[str]
    left_out: Counter[str]


def labelled(
    conn: Connection, since: datetime, until: datetime, campaign_dbid: int | None, talked_s: float | None
) -> list[Labelled]:
    """Recordings whose call has, or may have, a label. Raises StoreUnavailable."""
    try:
        rows = conn.execute(
            _FOUND, {"since": since, "until": until, "campaign": campaign_dbid, "talked": talked_s}
        ).fetchall()
    except psycopg.OperationalError as error:
        raise StoreUnavailable(f"export given up: {error}") from error
    return [Labelled(*row) for row in rows]


def export(
    configuration: Configuration,
    found: list[Labelled],
    recordings: Path,
    folder: Path,
    talked_s: float | None,
    seen: Callable[[int, int], object] = lambda _done, _of: None,
) -> Exported:
    """
    Copy recordings into ``folder`` and write its manifest; ``seen`` is told after each.

    A file that is gone, or is not what the media server wrote, is left out and counted. Raises OSError.
    """
    campaigns = {one.dbid: one.name for one in configuration.campaigns}
    trunks = {one.dbid: one for one in configuration.trunks}
    told = Exported(Counter(), Counter())
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    with _manifest(folder) as manifest:
        for done, one in enumerate(found, start=1):
            seen(done, len(found))
            label = one.label(talked_s)
            if label is not None and one.begins_late:
                label, why = None, "begins within the call"
            else:
                why = "no label" if label is None else _copied(recordings / one.path, folder / _name(one), one.sha256)
            if label is None or why:
                told.left_out[why] += 1
                continue
            trunk = trunks.get(one.switch_dbid) if one.switch_dbid is not None else None
            fields: dict[str, object] = {
                "file": _name(one),
                "label": label[0],
                "phase": "post",
                "country": one.tone_plan or (trunk.tone_plan if trunk is not None else None),
                "answered_s": round(one.answered_s, 3),
                "source": campaigns.get(one.campaign_dbid, str(one.campaign_dbid)),
                "label_from": label[1],
                "agent_result": one.agent_result,
                "live_verdict": one.verdict,
                "test_call": one.verified,
                "trunk": trunk.name if trunk is not None else None,
                "attempt_id": one.attempt_id,
                "recorded_at": one.began_at.isoformat(),
            }
            manifest.write(json.dumps(fields, ensure_ascii=False) + "\n")
            told.labels[label[0]] += 1
    return told


def _name(one: Labelled) -> str:
    return Path(one.path).name


def _copied(source: Path, target: Path, sha256: str) -> str:
    """Copy a file that is whole; else why not."""
    try:
        with source.open("rb") as file:
            if file_digest(file, "sha256").hexdigest() != sha256:
                return "file was changed"
    except FileNotFoundError:
        return "file is gone"
    shutil.copyfile(source, target)
    target.chmod(FILE_MODE)
    return ""


@contextmanager
def _manifest(folder: Path) -> Iterator[IO[str]]:
    """Appears under its name when it is whole."""
    unfinished = folder / f".{MANIFEST}.part"
    with unfinished.open("w", encoding="utf-8") as file:
        yield file
    unfinished.replace(folder / MANIFEST)

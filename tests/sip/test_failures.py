"""Real workers against everything that a carrier may do to a call: one SIPp, all calls of the table at once."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from telephony.client import TelephonyClient, open_telephony
from telephony.contract import LegAnswered, LegEnded, LegProgress
from tests.e2e.sipp_carrier import sipp_carrier
from tests.sip.cases import CASES, NUMBERS, TABLE
from tests.telephony.test_workers_with_sipp import LegReport, a_call, all_connected, telephony_pool

HANG_LIMIT_S = 60.0
CARRIER_LIMIT_S = 10.0
AT_ONCE = 8
"""So that none is late because of the others."""


@dataclass(frozen=True)
class Run:
    heard: dict[str, list[LegReport]]
    carrier_code: int | None
    carrier_errors: str
    trace: str
    pool_log: str
    in_use: int


async def dial_all(run_dir: Path, port: int) -> tuple[dict[str, list[LegReport]], int]:
    heard: dict[str, list[LegReport]] = {name: [] for name in CASES}
    room = trio.CapacityLimiter(AT_ONCE)

    async def dial(telephony: TelephonyClient, name: str) -> None:
        async with room:
            uri = f"sip:{NUMBERS[name]}@127.0.0.1:{port}"
            leg = await telephony.place_call(a_call(uri, no_answer_s=CASES[name].no_answer_s))
            async for event in leg.events:
                heard[name].append(event)
                if isinstance(event, LegAnswered):
                    nursery.start_soon(hang_up_later, leg, CASES[name].hang_up_after_s)

    async def hang_up_later(leg, after_s: float) -> None:
        await trio.sleep(after_s)  # the far end is to have its say
        await leg.hang_up()

    with trio.fail_after(HANG_LIMIT_S):
        async with open_telephony(run_dir) as telephony:
            await all_connected(telephony, AT_ONCE)
            async with trio.open_nursery() as nursery:
                for name in CASES:
                    nursery.start_soon(dial, telephony, name)
            return heard, telephony.in_use


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("sip")
    with telephony_pool(folder, 4 * AT_ONCE), sipp_carrier(TABLE, folder) as carrier:
        heard, in_use = trio.run(dial_all, folder, carrier.port)
        try:
            code: int | None = carrier.finish(CARRIER_LIMIT_S)
        except subprocess.TimeoutExpired:
            code = None  # a call of it waits for something that never came
        pool_log = (folder / "pool.log").read_text()
        yield Run(heard, code, carrier.errors, carrier.trace, pool_log, in_use)


@pytest.mark.parametrize("name", CASES)
def test_given_a_far_end_when_called_then_the_daemon_hears_what_it_did(run, name):
    case, heard = CASES[name], run.heard[name]
    ended = heard[-1]

    assert isinstance(ended, LegEnded), heard
    assert tuple(e.sip_status for e in heard if isinstance(e, LegProgress) and e.sip_status != 200) == case.progress
    assert [e for e in heard if isinstance(e, LegAnswered)] != [] if case.answered else ended.was_answered is False
    moved = [
        (e.remote_rtp_host, e.remote_rtp_port) for e in heard if isinstance(e, LegProgress) and e.sip_status == 200
    ]
    assert set(case.moved) <= set(moved)
    found = (ended.sip_status, ended.ended_by, ended.was_answered, ended.no_answer, ended.q850_cause)
    assert found == (case.status, case.by, case.answered, case.no_answer, case.q850_cause), heard
    assert (ended.redirect_to, ended.retry_after_s, ended.responded) == (
        case.redirect_to,
        case.retry_after_s,
        case.responded,
    )


def test_given_all_of_it_when_over_then_the_carrier_saw_what_it_waited_for_and_no_worker_fell(run):
    assert run.carrier_code == 0, run.carrier_errors
    assert run.in_use == 0
    assert "Traceback" not in run.pool_log
    assert "died" not in run.pool_log, run.pool_log

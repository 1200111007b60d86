"""Why, asked of the daemon: where its chains are and what its groups do, over the in-memory plane in virtual time."""

import json
from datetime import UTC, datetime

import pytest
import trio
from structlog.testing import capture_logs
from typer.testing import CliRunner

from ocsd.cli import app
from ocsd.dnc.contract import DncEntry
from ocsd.explain.contract import Explanation, GateVerdict, GroupExplanation, Reach
from ocsd.explain.facts import Claim, RecordFacts, Row, groups_of, list_named
from ocsd.explain.trunks import calls_of
from ocsd.lists.caps import Caps, History
from ocsd.model.errors import CampaignRequestError, StoreUnavailable, TargetNotFound
from ocsd.model.services import CampaignRequest
from ocsd.rules.hours import ListHours
from ocsd.sessions import explaining
from ocsd.sessions.explaining import Explaining
from telephony.fake import CallScript
from tests.ocsd.desk_world import LIST, NOON, RINGS, TALKER, number, world
from tests.ocsd.http_fakes import FakeCampaigns, FakeExplainer, http_server

NAME = "Demo List"


class MemoryFacts:
    """Stands for the database: facts of the memory store's rows, without SQL."""

    def __init__(self, world):
        self.world = world

    async def transaction(self, fn, *, read_only=False):
        assert read_only
        return fn(None)

    def gather(self, _conn, config, calling_list, record_id, at, *, registries, forbids, prefer):
        database = self.world.database
        rows = {
            found_id: Row(row.record, int(row.record_status), int(row.record.record_type), True)
            for found_id, row in database.rows(LIST).items()
        }
        chain_id = rows[record_id].record.chain_id
        claims = {key[1]: claim for key, claim in database.claims.items()}
        claim = claims.get(chain_id)
        caps = Caps(config)
        groups = groups_of(config, calling_list)
        return RecordFacts(
            config=config,
            calling_list=calling_list,
            at=at,
            row=rows[record_id],
            chain=tuple(row for row in rows.values() if row.record.chain_id == chain_id),
            hours=ListHours(config, calling_list),
            caps=caps,
            history=History(caps, ()),
            group=groups[0],
            groups=groups,
            claim=claim and Claim(claim.owner, "node", LIST, groups[0].dbid, at, datetime(2030, 1, 1, tzinfo=UTC)),
        )

    def trunk_calls(self, _conn, switch_dbids, at):
        if not self.world.database.available:
            raise StoreUnavailable("away")
        ended = [kept for kept in self.world.database.attempts.values() if kept.finished is not None]
        return {
            dbid: calls_of(
                [(one.finished.sip_status, one.open.started_at) for one in ended if one.finished.switch_dbid == dbid]
            )
            for dbid in switch_dbids
        }


class NoRegistries:
    """Do-Not-Call in memory, as the service has it besides."""

    registries = ()

    def __init__(self, dnc):
        self.forbidden, self.customers_forbidden = dnc.forbidden, dnc.customers_forbidden


@pytest.fixture
def explaining_of(monkeypatch):
    def made(at, daemon):
        facts = MemoryFacts(at)
        monkeypatch.setattr(explaining, "gather", facts.gather)
        monkeypatch.setattr(explaining, "trunk_calls", facts.trunk_calls)
        monkeypatch.setattr(explaining, "with_ahead", lambda _conn, found, _priorities: found)
        return Explaining(daemon.campaigns, facts, NoRegistries(at.dnc), daemon.campaigns.store.owner)

    return made


def gates(explanation):
    return {gate.gate: gate for gate in explanation.gates}


def closed(explanation):
    return [gate.gate for gate in explanation.gates if gate.passed is False]


async def test_given_a_group_from_not_loaded_to_dialing_when_asked_then_each_step_says_what_is_missing(
    autojump_clock, tmp_path, explaining_of
):
    async with world(tmp_path, {number(1): TALKER, number(2): RINGS}) as at:
        at.add(1)
        at.add(2, dial_sched_time=int(NOON.timestamp()) - 60)
        async with at.daemon() as daemon:
            asked = explaining_of(at, daemon)
            group = daemon.campaigns.config.campaign_groups[0].dbid

            not_loaded = await asked.why(NAME, 1)
            assert closed(not_loaded) == ["loaded", "running", "agents", "pacing"]
            assert "is not loaded" in not_loaded.summary

            await daemon.request(CampaignRequest.LOAD)
            await daemon.until(lambda: daemon.session.supply.buffered == 2)
            loaded = await asked.why(NAME, 1)
            assert closed(loaded) == ["running", "agents", "pacing"]
            assert gates(loaded)["claim"].inputs["place"] == "buffer"
            assert gates(loaded)["claim"].inputs["queue_place"] in (1, 2)
            assert (await asked.why_group(group)).dials_now is False

            await daemon.request(CampaignRequest.START_DIALING)
            await daemon.until(lambda: daemon.session.decided is not None)
            idle = await asked.why(NAME, 1)
            assert closed(idle) == ["agents", "pacing"]
            assert "no agent of" in idle.summary

            agent = at.config.agents[0].login_id
            await daemon.log_in(agent)
            await daemon.until_talking(agent)
            busy = {record_id: await asked.why(NAME, record_id) for record_id in (1, 2)}
            talking = next(found for found in busy.values() if "talking" in gates(found)["claim"].why)
            assert closed(talking)[0] == "claim"
            assert f"with agent {agent}" in talking.summary
            assert not talking.dialed_now
            of_group = await asked.why_group(group)
            assert of_group.dials_now
            assert all(gate.reach is Reach.GROUP for gate in of_group.gates)


async def test_given_a_trunk_that_refuses_every_call_when_the_group_is_asked_then_that_is_why(
    autojump_clock, tmp_path, explaining_of
):
    refusing = {number(record_id): CallScript(status=503, ring_s=0.5) for record_id in range(1, 5)}
    async with world(tmp_path, refusing) as at:
        for record_id in range(1, 5):
            at.add(record_id)
        async with at.daemon() as daemon:
            asked = explaining_of(at, daemon)
            group = daemon.campaigns.config.campaign_groups[0].dbid
            await daemon.log_in(at.config.agents[0].login_id)
            await daemon.start()
            await daemon.until(lambda: len(at.dialed()) == 4 and not daemon.session.attempts)

            gate = gates(await asked.why_group(group))["trunks"]
            assert gate.passed is False
            assert (
                "no call over it has been answered by the network for 1 minute (last SIP statuses 4 x 503)" in gate.why
            )

            at.database.available = False
            with pytest.raises(StoreUnavailable):
                await asked.why_group(group)


async def test_given_a_callback_on_a_desktop_when_asked_then_it_says_whose(autojump_clock, tmp_path, explaining_of):
    async with world(tmp_path) as at:
        agent = at.config.agents[0].login_id
        at.add_callback(1, 10.0, agent)
        async with at.daemon() as daemon:
            asked = explaining_of(at, daemon)
            await daemon.start()
            await daemon.log_in(agent)
            waiting = await asked.why(NAME, 1)
            assert closed(waiting) == ["schedule"]
            assert waiting.next_at == datetime.fromtimestamp(at.row(1).record.dial_sched_time, UTC)

            await daemon.scheduled(agent)

            assert f"is on the desktop of agent {agent}" in (await asked.why(NAME, 1)).summary


async def test_given_a_request_not_to_be_called_when_asked_before_it_is_in_the_table_then_it_counts(
    autojump_clock, tmp_path, explaining_of
):
    async with world(tmp_path) as at:
        at.add(1)
        async with at.daemon() as daemon:
            asked = explaining_of(at, daemon)
            at.dnc.hear([DncEntry(None, number(1), None, NOON)])

            forbidden = await asked.why(NAME, 1)

            assert closed(forbidden)[0] == "do_not_call"
            assert explaining.NEWS in gates(forbidden)["do_not_call"].why


async def test_given_no_such_list_or_group_when_asked_then_it_is_refused(autojump_clock, tmp_path, explaining_of):
    async with world(tmp_path) as at, at.daemon() as daemon:
        asked = explaining_of(at, daemon)

        with pytest.raises(TargetNotFound, match="Nobody"):
            await asked.why("Nobody", 1)
        with pytest.raises(CampaignRequestError):
            await asked.why_group(999)
        assert list_named(at.config, NAME).dbid == LIST


CLOSED = GateVerdict("agents", False, "no agent takes calls", Reach.GROUP, {"agents": {}}, remedy="log in")


async def test_given_a_daemon_when_asked_over_http_then_its_answer_is_the_one_printed():
    campaigns = FakeCampaigns()
    dbid, name = campaigns.statuses()[0].dbid, campaigns.statuses()[0].name
    told = GroupExplanation(name, NOON, False, "nobody is ready", (CLOSED,))
    record = Explanation("My List", 7, 3, NOON, False, "it waits", (CLOSED,), next_at=NOON)
    fake = FakeExplainer({("My List", 7): record}, groups={dbid: told})
    async with http_server(campaigns, explainer=fake) as (_, connect):
        client = await connect()
        answer = await client.ask(f"GET /campaigngroups/{dbid}?req=WHY HTTP/1.1\r\nHost: x\r\n\r\n")
        unknown = await client.ask("GET /campaigngroups/99999?req=why HTTP/1.1\r\nHost: x\r\n\r\n")

        def run(*arguments):
            return CliRunner().invoke(app, ["why", *arguments, "--url", f"http://127.0.0.1:{connect.port}"])

        with capture_logs():  # else the server's lines stand among those of the command
            by_record = await trio.to_thread.run_sync(run, "--list", "My List", "--record", "7")
            by_group = await trio.to_thread.run_sync(run, "--group", name, "--json")

    assert (answer.status, unknown.status) == (200, 404)
    assert json.loads(answer.body) == json.loads(by_group.stdout)
    assert json.loads(answer.body)["gates"][0]["inputs"] == {"agents": {}}
    assert (by_record.exit_code, by_group.exit_code) == (1, 1)
    assert by_record.stdout.splitlines() == [
        "My List, record 7 (chain 3) at 2026-03-03 17:00:00 UTC",
        "it waits",
        "\tgate\twhy\topens\twhat to do",
        "closed\tagents\tno agent takes calls\t-\tlog in",
    ]


async def test_given_many_who_ask_when_the_database_is_slow_then_they_take_one_connection(
    autojump_clock, tmp_path, explaining_of
):
    async with world(tmp_path) as at:
        at.add(1)
        async with at.daemon() as daemon:
            asked, busy = explaining_of(at, daemon), []
            transaction = asked._database.transaction

            async def slow(fn, *, read_only=False):
                busy.append(1)
                assert sum(busy) == 1
                await trio.sleep(1.0)
                busy.append(-1)
                return await transaction(fn, read_only=read_only)

            asked._database.transaction = slow
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(asked.why, NAME, 1)

            assert len(busy) == 10

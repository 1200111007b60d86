"""The pure machine of call control, and its requests and events on the wire."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ocsd.model.errors import DesktopRequestError
from ocsd.protocols import desktop_calls as ask
from ocsd.protocols.desktop import RefusedRequest, RequestReleaseCall, parse
from ocsd.protocols.desktop_calls import CallEvent, CallNews, MonitorMode, MonitorType, call_news
from ocsd.sessions.call_control import CallControl
from ocsd.sessions.call_parties import allowed_number
from ocsd.sessions.call_talk import AUDIO_OF, Act, Destination, Refused, Talk, Who, attempt_of, conn_id

CUSTOMER, ALICE, BOB = "+12125550123", "sip:1001@host", "sip:1002@host"
TO_BOB = Destination(BOB, BOB, "bob", member=True)
OUTSIDE = Destination("+442071838750", "sip:x@trunk", trunk="Carrier")


def call(state=Talk.TALKING):
    return CallControl(42, CUSTOMER, "alice", ALICE, state)


def test_given_an_attempt_when_conn_ids_are_made_then_they_lead_back_and_never_meet():
    found = {conn_id(attempt, number) for attempt in (1, 2, 2**40) for number in range(128)}

    assert len(found) == 3 * 128
    assert {attempt_of(each) for each in found} == {1, 2, 2**40}
    assert attempt_of("no hexadecimal!!") is None
    assert attempt_of("2a") is None


@pytest.mark.parametrize("state", Talk)
def test_given_a_state_when_its_audio_is_asked_for_then_nobody_is_in_two_places_and_the_customer_hears_something(state):
    audio = AUDIO_OF[state]

    assert not audio.talk & (audio.music | audio.ringback)
    assert not audio.music & audio.ringback
    assert len(audio.talk) != 1
    if state is not Talk.OVER:
        assert Who.CUSTOMER in audio.talk | audio.music | audio.ringback


@pytest.mark.parametrize(
    ("patterns", "allowed", "refused"),
    [
        ("*", ["+49301234", "110"], []),
        ("", [], ["+49301234", "110"]),
        ("+49*, 110", ["+49301234", "110"], ["+4330", "1101", "0110"]),
    ],
)
def test_given_outside_destinations_when_a_number_is_looked_up_then_only_those_are_allowed(patterns, allowed, refused):
    assert [each for each in allowed + refused if allowed_number(each, patterns)] == allowed


# --- any course of events -------------------------------------------------------------------------------------------


class AnyCourse(RuleBasedStateMachine):
    """Whatever is asked and happens: what was begun is ended once, and the customer is never left alone."""

    def __init__(self):
        super().__init__()
        self.control = call()
        self.third_up = False
        self.dialed = self.hung_up = self.handed = 0
        self.ended = self.left = False
        self.mine = {"alice": set(), "bob": set()}

    def take(self, steps):
        for step in steps:
            match step:
                case Act.DIAL_THIRD:
                    assert self.control.third is not None
                    self.dialed += 1
                    self.third_up = False
                case Act.HANG_UP_THIRD:
                    self.hung_up += 1
                case Act.HAND_OVER:
                    self.handed += 1
                    self.control.handed_over()
                case Act.END:
                    self.ended = True
                case Act.AGENT_LEAVES:
                    self.left = True
                case CallNews(event=CallEvent.ESTABLISHED | CallEvent.RINGING):
                    self.mine[step.agent_id].add(step.conn_id)
                case CallNews() | Refused():
                    pass
        if Act.HAND_OVER in steps:
            self.left = False

    def send(self, request):
        before = (self.control.state, self.control.third, self.control.muted, self.control.agent_there)
        agent_id = self.control.agent_id if self.control.agent_there else "alice"
        try:
            steps = self.control.request(request, agent_id, lambda _dn: self.found)
        except DesktopRequestError:
            assert before == (self.control.state, self.control.third, self.control.muted, self.control.agent_there)
            return
        self.take(steps)

    found = TO_BOB

    @rule(
        kind=st.sampled_from(
            [ask.RequestHoldCall, ask.RequestRetrieveCall, ask.RequestSetMuteOn, ask.RequestSetMuteOff]
        )
    )
    def simple(self, kind):
        self.send(kind(self.control.main))

    @rule(
        kind=st.sampled_from(
            [
                ask.RequestSingleStepTransfer,
                ask.RequestSingleStepConference,
                ask.RequestInitiateTransfer,
                ask.RequestInitiateConference,
                ask.RequestDeleteFromConference,
            ]
        ),
        outside=st.booleans(),
    )
    def with_party(self, kind, outside):
        taken = self.control.agent_id == "bob"
        self.found = OUTSIDE if outside else (Destination(ALICE, ALICE, "alice", member=True) if taken else TO_BOB)
        self.send(kind(self.control.main, self.found.dn))

    @rule(
        kind=st.sampled_from([ask.RequestCompleteTransfer, ask.RequestCompleteConference]),
    )
    def complete(self, kind):
        self.send(kind(self.control.main, self.control.consultation or "0" * 16))

    @rule(kind=st.sampled_from([ask.RequestAlternateCall, ask.RequestReconnectCall]), first=st.booleans())
    def between(self, kind, first):
        both = [self.control.main, self.control.consultation or "0" * 16]
        self.send(kind(*(both if first else both[::-1])))

    @rule(main=st.booleans())
    def release(self, main):
        conn = self.control.main if main else self.control.consultation
        steps_before = self.control.state
        try:
            steps = self.control.request(RequestReleaseCall(conn), self.control.agent_id, lambda _dn: self.found)
        except DesktopRequestError:
            assert self.control.state is steps_before
            return
        if not steps:
            self.take(self.control.over())
        self.take(steps)

    @rule()
    def answered(self):
        if self.control.third is not None and not self.third_up:
            self.take(self.control.third_rings())
            self.third_up = True
            self.take(self.control.third_answered())

    @rule()
    def third_leaves(self):
        self.take(self.control.third_ended())

    @rule()
    def agent_hangs_up(self):
        if self.control.agent_there:
            steps = self.control.agent_ended()
            self.take(steps or self.control.over())

    @invariant()
    def legs_are_counted(self):
        assert self.dialed == self.hung_up + self.handed + (self.control.third is not None)

    @invariant()
    def a_third_party_is_there_when_the_state_says_so(self):
        with_third = self.control.state not in (Talk.TALKING, Talk.HELD, Talk.OVER)
        assert with_third == (self.control.third is not None)

    @invariant()
    def an_agent_is_there_unless_the_customer_waits_for_the_third_party(self):
        if not self.control.agent_there and not self.ended:
            assert self.control.state in (Talk.HANDING_OVER, Talk.OVER)


TestAnyCourse = AnyCourse.TestCase
TestAnyCourse.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)


# --- on the wire ----------------------------------------------------------------------------------------------------

CALL = {"ConnID": "000000000000002a", "ReferenceID": 7}


@pytest.mark.parametrize(
    ("name", "more", "expected"),
    [
        ("RequestHoldCall", {}, ask.RequestHoldCall(CALL["ConnID"], None, 7)),
        ("RequestRetrieveCall", {"AgentID": "alice"}, ask.RequestRetrieveCall(CALL["ConnID"], "alice", 7)),
        ("RequestSetMuteOn", {}, ask.RequestSetMuteOn(CALL["ConnID"], None, 7)),
        ("RequestSendDTMF", {"DTMFDigits": "12#a"}, ask.RequestSendDTMF(CALL["ConnID"], "12#A", None, 7)),
        ("RequestInitiateTransfer", {"OtherDN": "bob"}, ask.RequestInitiateTransfer(CALL["ConnID"], "bob", None, 7)),
        ("RequestCompleteTransfer", {"TransferConnID": "x"}, ask.RequestCompleteTransfer(CALL["ConnID"], "x", None, 7)),
        (
            "RequestCompleteConference",
            {"ConferenceConnID": "x"},
            ask.RequestCompleteConference(CALL["ConnID"], "x", None, 7),
        ),
        ("RequestAlternateCall", {"PreviousConnID": "x"}, ask.RequestAlternateCall(CALL["ConnID"], "x", None, 7)),
    ],
)
def test_given_a_request_of_the_library_when_parsed_then_it_is_the_typed_one(name, more, expected):
    assert parse(json.dumps({"Request": name} | CALL | more)) == expected


@pytest.mark.parametrize(
    ("message", "number", "attribute"),
    [
        ({"Request": "RequestHoldCall"}, 102, "ConnID"),
        ({"Request": "RequestSendDTMF", **CALL}, 102, "DTMFDigits"),
        ({"Request": "RequestSendDTMF", **CALL, "DTMFDigits": "1,2"}, 103, "DTMFDigits"),
        ({"Request": "RequestSendDTMF", **CALL, "DTMFDigits": "1" * 65}, 103, "DTMFDigits"),
        ({"Request": "RequestInitiateTransfer", **CALL}, 102, "OtherDN"),
        ({"Request": "RequestInitiateTransfer", **CALL, "OtherDN": "1" * 129}, 103, "OtherDN"),
        ({"Request": "RequestHoldCall", **CALL, "OtherDN": "bob"}, 103, "OtherDN"),
        ({"Request": "RequestMonitorNextCall", "OtherDN": "bob", "MonitorMode": "whisper"}, 103, "MonitorMode"),
    ],
)
def test_given_a_faulty_request_when_parsed_then_number_and_attribute_are_named(message, number, attribute):
    with pytest.raises(RefusedRequest) as refused:
        parse(json.dumps(message))

    assert int(refused.value.error) == number
    assert attribute in refused.value.description
    assert refused.value.agent_state


def test_given_a_supervisors_request_when_parsed_then_mode_and_kind_have_their_defaults():
    plain = parse(json.dumps({"Request": "RequestMonitorNextCall", "OtherDN": "bob"}))

    assert plain == ask.RequestMonitorNextCall("bob", MonitorMode.MUTE, MonitorType.ONE_CALL)


@given(st.sampled_from(CallEvent), st.booleans())
def test_given_news_when_written_then_they_are_json_and_have_no_empty_attributes(event, consult):
    news = CallNews(event, "alice", conn_id(42), CUSTOMER, consult, reference_id=None)
    message = json.loads(json.dumps(call_news(news, ALICE, {"GSW_RECORD_HANDLE": 42})))

    assert message["CallType"] == (4 if consult else 3)
    assert (message["ThisDN"], message["UserData"]) == (ALICE, {"GSW_RECORD_HANDLE": 42})
    assert "" not in message.values()
    assert "ReferenceID" not in message

"""
Call control in a conversation, as a pure machine: hold, consultation, transfer, conference. One third party at a time.

Theory of operation
-------------------
    TALKING <-> HELD
       |         |    consultation          alternate
       |         +--> CONSULT_DIALING -> CONSULTING <-> ALTERNATED
       |                                     |               |
       |                                     +--- complete --+--> CONFERENCE, or the third party has the customer
       +--> ADDING (single-step conference) -> CONFERENCE -> TALKING
       +--> HANDING_OVER (single-step transfer) -> the third party has the customer

It lives inside the attempt machine's TALKING, which it leaves alone but for one event: `PassedOn`, when the third
party takes the place of the agent. In come requests of desktops and news of the third party's leg; out come things to
do (`Act`) and news for desktops (`CallNews`), in this order. What everybody hears follows from the state alone
(`audio_of`), so that the shell has nothing to decide and a restart has only the state to find.

Nobody is lost. A single-step transfer whose destination does not answer brings the customer back to the agent, who
stays on the line until then; an agent who has hung up meanwhile is free, and a failure ends the call then. An agent who
leaves a conference leaves the customer to the third party. The customer's end is everybody's end.

Sources: Reference Manual, "Call Result Types" (Stale: "transferred from an agent in an outbound campaign to a DN that
is not registered for OCS"); the T-Library's requests and events.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from ocsd.model.enums import GswError
from ocsd.model.errors import DesktopRequestError
from ocsd.protocols import desktop_calls as ask
from ocsd.protocols.desktop import RequestReleaseCall
from ocsd.protocols.desktop_calls import CallEvent, CallNews
from ocsd.protocols.desktop_pairs import ReferenceId
from ocsd.sessions.call_talk import (
    AUDIO_OF,
    WITH_THIRD,
    Act,
    Audio,
    Destination,
    Refused,
    Request,
    SendKeys,
    Step,
    Talk,
    Third,
    Who,
    conn_id,
)


def _refused(why: str) -> DesktopRequestError:
    return DesktopRequestError(GswError.INVALID_REQUEST, why)


@dataclass(slots=True)
class CallControl:
    """
    State of one conversation; the attempt's task owns it.

    Attributes:
        agent_id, agent_dn: who has the call now.
        agent_there: False: the agent has left, and the customer waits for the third party.
        thirds: third parties so far.
    """

    attempt_id: int
    customer_dn: str
    agent_id: str
    agent_dn: str
    state: Talk = Talk.TALKING
    muted: bool = False
    agent_there: bool = True
    third: Third | None = None
    thirds: int = 0

    @property
    def audio(self) -> Audio:
        """What everybody hears now."""
        return AUDIO_OF[self.state]

    @property
    def main(self) -> str:
        """ConnID of the customer's call."""
        return conn_id(self.attempt_id)

    @property
    def consultation(self) -> str:
        """ConnID of the consultation; "" while there is none."""
        return conn_id(self.attempt_id, self.third.number) if self.third is not None and self.third.consult else ""

    def takes_part(self, agent_id: str) -> bool:
        """Whether the agent is in this call: has it, or is the third party."""
        return (agent_id == self.agent_id and self.agent_there) or agent_id == self._third_agent

    @property
    def _third_agent(self) -> str | None:
        return self.third.destination.agent_id if self.third is not None else None

    # --- news -----------------------------------------------------------------------------------------------------

    def _agents(self, event: CallEvent, *, second: bool = False, **more: object) -> CallNews:
        """News for the agent who has the call; ``second``: of the consultation."""
        conn = self.consultation if second else self.main
        other = self.third.dn if second and self.third is not None else self.customer_dn
        return CallNews(event, self.agent_id, conn, other, consult=second, **more)  # type: ignore[arg-type]

    def _thirds(self, event: CallEvent, *, second: bool, **more: object) -> tuple[CallNews, ...]:
        """News for the third party, where that is an agent; ``second``: of the consultation."""
        if self.third is None or (agent_id := self.third.destination.agent_id) is None:
            return ()
        conn, other = (self.consultation, self.agent_dn) if second else (self.main, self.customer_dn)
        return (CallNews(event, agent_id, conn, other, consult=second, **more),)  # type: ignore[arg-type]

    # --- requests -------------------------------------------------------------------------------------------------

    def request(self, request: Request, agent_id: str, find: Callable[[str], Destination]) -> tuple[Step, ...]:
        """
        What a request of an agent's desktop leads to. Raises DesktopRequestError; then nothing has changed.

        ``find``: the destination that an OtherDN means; raises DesktopRequestError where it may not be called.
        """
        if isinstance(request, RequestReleaseCall):
            return self._release(request, agent_id)
        if agent_id != self.agent_id or not self.agent_there:
            raise _refused("the call is another agent's")
        if self.state is Talk.OVER:
            raise _refused("the call is over")
        match request:
            case ask.RequestSetMuteOn() | ask.RequestSetMuteOff():
                self._own_call(request.conn_id)
                return self._mute(isinstance(request, ask.RequestSetMuteOn), request.reference_id)
            case ask.RequestSendDTMF():
                return self._send_keys(request)
            case ask.RequestHoldCall():
                self._main_call(request.conn_id)
                self._only_in(Talk.TALKING, "only a call that is talked in can be put on hold")
                self.state = Talk.HELD
                return (self._agents(CallEvent.HELD, reference_id=request.reference_id),)
            case ask.RequestRetrieveCall():
                self._main_call(request.conn_id)
                self._only_in(Talk.HELD, "the call is not on hold, or another one has to be released first")
                self.state = Talk.TALKING
                return (self._agents(CallEvent.RETRIEVED, reference_id=request.reference_id),)
            case ask.RequestInitiateTransfer() | ask.RequestInitiateConference():
                return self._consult(request.conn_id, find, request.other_dn, request.reference_id)
            case ask.RequestSingleStepConference():
                self._main_call(request.conn_id)
                self._only_in(Talk.TALKING, "somebody can be brought into a call of two that is not on hold")
                return self._dial(Talk.ADDING, find(request.other_dn), request.reference_id)
            case ask.RequestSingleStepTransfer():
                self._main_call(request.conn_id)
                if self.state not in (Talk.TALKING, Talk.HELD):
                    raise _refused("a call with a third party is not transferred in a single step")
                return self._dial(Talk.HANDING_OVER, find(request.other_dn), request.reference_id)
            case ask.RequestCompleteTransfer():
                return self._complete_transfer(request)
            case ask.RequestCompleteConference():
                return self._complete_conference(request)
            case ask.RequestDeleteFromConference():
                return self._delete(request)
            case ask.RequestAlternateCall():
                return self._alternate(request)
            case ask.RequestReconnectCall():
                self._both_calls(request.second_conn_id, request.conn_id)
                held = self.state is not Talk.ALTERNATED
                gone = self._third_leaves(request.reference_id)
                self.state = Talk.TALKING
                return (*gone, self._agents(CallEvent.RETRIEVED)) if held else gone

    def _main_call(self, conn: str) -> None:
        if conn != self.main:
            raise DesktopRequestError(GswError.INVALID_ATTRIBUTE_VALUE, f"ConnID {conn!r} is not the customer's call")

    def _own_call(self, conn: str) -> None:
        if conn not in (self.main, self.consultation) or not conn:
            raise DesktopRequestError(GswError.INVALID_ATTRIBUTE_VALUE, f"ConnID {conn!r} is no call of the agent")

    def _only_in(self, state: Talk, why: str) -> None:
        if self.state is not state:
            raise _refused(why)

    def _both_calls(self, main: str, consultation: str) -> None:
        if self.state not in WITH_THIRD:
            raise _refused("there is no consultation")
        if (main, consultation) != (self.main, self.consultation):
            raise DesktopRequestError(
                GswError.INVALID_ATTRIBUTE_VALUE,
                f"the customer's call is ConnID {self.main}, the consultation {self.consultation}",
            )

    def _mute(self, muted: bool, reference_id: ReferenceId) -> tuple[Step, ...]:
        self.muted = muted
        event = CallEvent.MUTE_ON if muted else CallEvent.MUTE_OFF
        return Act.MUTE, self._agents(event, reference_id=reference_id)

    def _send_keys(self, request: ask.RequestSendDTMF) -> tuple[Step, ...]:
        self._own_call(request.conn_id)
        second = request.conn_id != self.main
        to = Who.THIRD if second else Who.CUSTOMER
        if not {Who.AGENT, to} <= self.audio.talk:
            raise _refused("the agent does not talk in this call now")
        news = self._agents(
            CallEvent.DTMF_SENT, second=second, digits=request.digits, reference_id=request.reference_id
        )
        return (SendKeys(to, request.digits, news),)

    def _consult(
        self, conn: str, find: Callable[[str], Destination], other_dn: str, reference_id: ReferenceId
    ) -> tuple[Step, ...]:
        self._main_call(conn)
        if self.state not in (Talk.TALKING, Talk.HELD):
            raise _refused("one third party at a time")
        destination = find(other_dn)
        held = () if self.state is Talk.HELD else (self._agents(CallEvent.HELD),)
        dial = self._dial(Talk.CONSULT_DIALING, destination, None, consult=True)
        dialing = self._agents(CallEvent.DIALING, second=True, previous_conn_id=self.main, reference_id=reference_id)
        return (*held, *dial, dialing)

    def _dial(
        self, state: Talk, destination: Destination, reference_id: ReferenceId, *, consult: bool = False
    ) -> tuple[Step, ...]:
        if destination.dn in (self.customer_dn, self.agent_dn):
            raise DesktopRequestError(GswError.INVALID_ATTRIBUTE_VALUE, f"{destination.dn} is in the call already")
        self.thirds += 1
        self.third = Third(self.thirds, destination, consult, reference_id=reference_id)
        self.state = state
        return (Act.DIAL_THIRD,)

    def _complete_transfer(self, request: ask.RequestCompleteTransfer) -> tuple[Step, ...]:
        self._both_calls(request.conn_id, request.second_conn_id)
        if self.state is Talk.CONSULT_DIALING:
            raise _refused("the consultation call is not answered yet")
        released = self._agents(CallEvent.RELEASED, second=True, reference_id=request.reference_id)
        changed = self._thirds(CallEvent.PARTY_CHANGED, second=False, previous_conn_id=self.consultation)
        return (released, *self._hand_over(), *changed)

    def _complete_conference(self, request: ask.RequestCompleteConference) -> tuple[Step, ...]:
        self._both_calls(request.conn_id, request.second_conn_id)
        if self.state is Talk.CONSULT_DIALING:
            raise _refused("the consultation call is not answered yet")
        assert self.third is not None
        released = self._agents(CallEvent.RELEASED, second=True)
        changed = self._thirds(CallEvent.PARTY_CHANGED, second=False, previous_conn_id=self.consultation)
        self.state = Talk.CONFERENCE
        self.third = replace(self.third, consult=False, told=True)
        added = self._agents(CallEvent.PARTY_ADDED, third_dn=self.third.dn, reference_id=request.reference_id)
        return (released, added, *changed)

    def _delete(self, request: ask.RequestDeleteFromConference) -> tuple[Step, ...]:
        self._main_call(request.conn_id)
        if self.state not in (Talk.CONFERENCE, Talk.ADDING) or self.third is None:
            raise _refused("there is no conference")
        # Nobody remembers the number of who was outside before a restart.
        if self.third.dn and request.other_dn not in (self.third.dn, self._third_agent):
            raise DesktopRequestError(
                GswError.INVALID_ATTRIBUTE_VALUE, f"OtherDN {request.other_dn!r} was not brought into this call"
            )
        failed = self.pending("the third party is not called any more")
        return (*self._third_leaves(request.reference_id), *failed)

    def _alternate(self, request: ask.RequestAlternateCall) -> tuple[Step, ...]:
        at_third = self.state is Talk.CONSULTING
        current, held = (self.consultation, self.main) if at_third else (self.main, self.consultation)
        if self.state not in (Talk.CONSULTING, Talk.ALTERNATED):
            raise _refused("there is no consultation that has been answered")
        if (request.conn_id, request.second_conn_id) != (current, held):
            raise DesktopRequestError(
                GswError.INVALID_ATTRIBUTE_VALUE, f"the agent talks in ConnID {current}, and {held} is on hold"
            )
        self.state = Talk.ALTERNATED if at_third else Talk.CONSULTING
        return (
            self._agents(CallEvent.HELD, second=at_third),
            self._agents(CallEvent.RETRIEVED, second=not at_third, reference_id=request.reference_id),
        )

    def _release(self, request: RequestReleaseCall, agent_id: str) -> tuple[Step, ...]:
        if agent_id == self._third_agent:
            if request.conn_id != (self.consultation or self.main):
                raise DesktopRequestError(
                    GswError.INVALID_ATTRIBUTE_VALUE, f"ConnID {request.conn_id!r} is no call of agent {agent_id!r}"
                )
            return self.third_ended(request.reference_id)
        if agent_id != self.agent_id or not self.agent_there:
            raise _refused("the call is another agent's")
        self._own_call(request.conn_id)
        if request.conn_id != self.main:
            return self._third_leaves(request.reference_id)
        return self.agent_ended()

    # --- what happens on the line -----------------------------------------------------------------------------------

    def third_rings(self) -> tuple[Step, ...]:
        """Its phone has been dialed: a desktop is told."""
        if self.third is None:
            return ()
        self.third = replace(self.third, told=True)
        return self._thirds(CallEvent.RINGING, second=self.third.consult)

    def third_answered(self) -> tuple[Step, ...]:
        """Somebody has answered the third party's phone."""
        if self.third is None:
            return ()
        self.third = replace(self.third, told=True)
        match self.state:
            case Talk.CONSULT_DIALING:
                self.state = Talk.CONSULTING
                established = self._agents(CallEvent.ESTABLISHED, second=True)
                return (established, *self._thirds(CallEvent.ESTABLISHED, second=True))
            case Talk.ADDING:
                self.state = Talk.CONFERENCE
                added = self._agents(
                    CallEvent.PARTY_ADDED, third_dn=self.third.dn, reference_id=self.third.reference_id
                )
                return (added, *self._thirds(CallEvent.ESTABLISHED, second=False))
            case Talk.HANDING_OVER:
                return (*self._hand_over(), *self._thirds(CallEvent.ESTABLISHED, second=False))
            case _:
                return ()

    def third_ended(self, reference_id: ReferenceId = None) -> tuple[Step, ...]:
        """The third party has left, or could not be reached; ``reference_id``: its own desktop has asked for it."""
        third = self.third
        if third is None:
            return ()
        failed = self.pending(f"{third.dn} did not answer")
        told = self.state not in (Talk.ADDING, Talk.HANDING_OVER)
        end = self.state is Talk.HANDING_OVER and not self.agent_there
        gone = self._third_leaves(None, told=told, thirds_reference_id=reference_id)
        return (*gone, Act.END) if end else (*gone, *failed)

    def pending(self, why: str) -> tuple[Refused, ...]:
        """What a request is answered with that waits for the third party, and comes to nothing."""
        third = self.third
        if third is None or self.state not in (Talk.ADDING, Talk.HANDING_OVER) or not self.agent_there:
            return ()
        return (Refused(self.agent_id, why, third.reference_id),)

    def agent_ended(self) -> tuple[Step, ...]:
        """
        The agent has hung up, or asks for it.

        Without steps the conversation goes the attempt's own way: it ends.
        """
        match self.state:
            case Talk.CONFERENCE:
                changed = self._thirds(CallEvent.PARTY_DELETED, second=False, third_dn=self.agent_dn)
                return (*self._hand_over(), *changed)
            case Talk.HANDING_OVER if self.agent_there:
                self.agent_there = False
                return (Act.AGENT_LEAVES,)
            case _:
                return ()

    def over(self) -> tuple[Step, ...]:
        """The attempt is no conversation any more: whoever is left is told, and released."""
        if self.state is Talk.OVER:
            return ()
        failed = self.pending("the call is over")
        steps = self._third_leaves(None, told=self.state in WITH_THIRD) if self.third is not None else ()
        self.state, self.muted = Talk.OVER, False
        return (*steps, *failed)

    def _third_leaves(
        self, reference_id: ReferenceId, *, told: bool = True, thirds_reference_id: ReferenceId = None
    ) -> tuple[Step, ...]:
        """Back to two; on hold where the customer was left so. ``told``: the agent's desktop hears of it."""
        third = self.third
        assert third is not None
        steps: list[Step] = []
        if told and third.consult:
            steps.append(self._agents(CallEvent.RELEASED, second=True, reference_id=reference_id))
        elif told:
            steps.append(self._agents(CallEvent.PARTY_DELETED, third_dn=third.dn, reference_id=reference_id))
        if third.told:
            steps += self._thirds(CallEvent.RELEASED, second=third.consult, reference_id=thirds_reference_id)
        steps.append(Act.HANG_UP_THIRD)  # and then that agent is free: told last
        self.state = Talk.HELD if self.state in (Talk.CONSULT_DIALING, Talk.CONSULTING) else Talk.TALKING
        self.third = None
        return tuple(steps)

    def _hand_over(self) -> tuple[Step, ...]:
        """`handed_over` completes it, when the shell has moved the legs."""
        return (Act.HAND_OVER,)

    def handed_over(self) -> Destination:
        """The third party has the customer now; returns who that is."""
        assert self.third is not None
        destination = self.third.destination
        self.state = Talk.TALKING if destination.member else Talk.OVER
        if destination.agent_id is not None:
            self.agent_id, self.agent_dn = destination.agent_id, destination.dn
        self.agent_there = destination.agent_id is not None
        self.muted, self.third = False, None
        return destination

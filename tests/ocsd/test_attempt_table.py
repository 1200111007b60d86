"""Every event in every state of the attempt machine, against a table; and what a table cannot say."""

import math

import pytest

from ocsd.model.enums import CallAction, CallResult, RecordStatus
from ocsd.model.errors import InvariantError
from ocsd.sessions.attempt import (
    AgentAnswered,
    AgentEnded,
    AgentGone,
    AgentReserved,
    Answered,
    ApplicationDone,
    ApplicationFailed,
    AttemptMachine,
    AttemptRules,
    AttemptState,
    CalledOut,
    CallPlan,
    Cancelled,
    CustomerEnded,
    DeadlinePassed,
    DestinationAnswered,
    DestinationEnded,
    Do,
    Forced,
    GivenUp,
    Heard,
    KeyPressed,
    MediaFailed,
    NotPlaced,
    Progress,
    PromptFinished,
    RecordProcessed,
    RecordUpdated,
    ReleaseRequested,
    WantsAgent,
    Withdrawn,
)
from telephony.contract import VerdictKind

PERSON = Heard(VerdictKind.HUMAN, connected=True, speech_end_s=2.5)
MACHINE = Heard(VerdictKind.MACHINE, connected=True)
BEEP = Heard(VerdictKind.BEEP, connected=True)
CONNECT = CallPlan(CallAction.CONNECT)
DROP = CallPlan(CallAction.DROP)
TRANSFER = CallPlan(CallAction.TRANSFER, destination="sip:d@x")
STEPS = CallPlan(CallAction.NONE, application="steps")
DIALOG = CallPlan(CallAction.NONE, application="vxml", dialog=True, answer_s=2.0, limit_s=900.0)
PLAY = CallPlan(CallAction.PLAY_MESSAGE, message="m.wav")

WAYS = {
    "RINGING_AGENT (designated)": (None, ()),
    "DIALING": (None, ()),
    "DIALING (designated)": (None, (AgentAnswered(),)),
    "ALERTING": (None, (Progress(False),)),
    "ALERTING (designated)": (None, (AgentAnswered(), Progress(False))),
    "ANALYSING": (None, (Answered(),)),
    "WAITING": (None, (Answered(), PERSON)),
    "WAITING (machine)": (CONNECT, (Answered(), MACHINE)),
    "CONNECTING": (None, (Answered(), PERSON, AgentReserved("a"))),
    "CONNECTING (machine)": (CONNECT, (Answered(), MACHINE, AgentReserved("a"))),
    "TALKING": (None, (Answered(), PERSON, AgentReserved("a"), AgentAnswered())),
    "TALKING (designated)": (None, (AgentAnswered(), Answered())),
    "WRAP_UP (designated)": (None, (AgentAnswered(), CustomerEnded(486))),
    "ANNOUNCING": (None, (Answered(), PERSON, DeadlinePassed())),
    "AWAITING_BEEP (machine)": (PLAY, (Answered(), MACHINE)),
    "PLAYING": (PLAY, (Answered(), PERSON)),
    "PLAYING (machine)": (PLAY, (Answered(), MACHINE, BEEP)),
    "TRANSFERRING": (TRANSFER, (Answered(), PERSON)),
    "TRANSFERRING (machine)": (TRANSFER, (Answered(), MACHINE)),
    "TRANSFERRED": (TRANSFER, (Answered(), PERSON, DestinationAnswered())),
    "IN_APPLICATION": (STEPS, (Answered(), PERSON)),
    "IN_APPLICATION (machine)": (STEPS, (Answered(), MACHINE, BEEP)),
    "IN_APPLICATION (dialog)": (DIALOG, (Answered(), PERSON)),
    "IN_DIALOG": (DIALOG, (Answered(), PERSON, DestinationAnswered())),
    "IN_DIALOG (machine)": (DIALOG, (Answered(), MACHINE, BEEP, DestinationAnswered())),
    "WAITING (queued)": (STEPS, (Answered(), PERSON, WantsAgent(20.0))),
    "CONNECTING (queued)": (STEPS, (Answered(), PERSON, WantsAgent(20.0), AgentReserved("a"))),
    "TRANSFERRING (application)": (STEPS, (Answered(), PERSON, CalledOut("sip:d@x"))),
    "FINISHED": (None, (CustomerEnded(486),)),
}
"""The call action in force, and the events that lead to a state."""

EVENTS = {
    "progress": Progress(False),
    "progress with media": Progress(True),
    "answered": Answered(),
    "early busy": Heard(VerdictKind.BUSY, connected=False),
    "person": PERSON,
    "machine": MACHINE,
    "fax": Heard(VerdictKind.FAX, connected=True),
    "beep": BEEP,
    "customer ended": CustomerEnded(486),
    "customer lost": CustomerEnded(lost=True),
    "not placed": NotPlaced(CallResult.NO_PORT_AVAILABLE),
    "agent reserved": AgentReserved("b"),
    "agent answered": AgentAnswered(),
    "agent ended": AgentEnded(),
    "destination answered": DestinationAnswered(),
    "destination ended": DestinationEnded(),
    "destination not dialed": DestinationEnded(placed=False),
    "application done": ApplicationDone(),
    "application failed": ApplicationFailed(),
    "application wants an agent": WantsAgent(20.0),
    "application calls out": CalledOut("sip:d@x"),
    "key": KeyPressed("1"),
    "prompt finished": PromptFinished(),
    "prompt failed": PromptFinished("no such prompt"),
    "deadline": DeadlinePassed(),
    "release": ReleaseRequested(),
    "given up": GivenUp(),
    "media failed": MediaFailed(),
    "updated": RecordUpdated(None),
    "processed": RecordProcessed(None),
    "agent gone": AgentGone(),
    "forced": Forced(),
    "withdrawn": Withdrawn(),
    "cancelled": Cancelled(),
}

TABLE = {
    "RINGING_AGENT (designated)": {
        "media failed": "WRAP_UP 4: HANG_UP_CUSTOMER HANG_UP_AGENT AGENT_TO_WRAP_UP",
        "not placed": "bug",
        "agent reserved": "bug",
        "agent answered": "DIALING: DIAL_CUSTOMER",
        "agent ended": "WRAP_UP 28: AGENT_NOT_READY",
        "deadline": "WRAP_UP 28: AGENT_NOT_READY",
        "release": "WRAP_UP 28: HANG_UP_AGENT AGENT_TO_WRAP_UP",
        "forced": "FINISHED 46: HANG_UP_AGENT AGENT_BACK_TO_READY HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "withdrawn": "FINISHED 51: HANG_UP_AGENT AGENT_BACK_TO_READY HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "cancelled": "FINISHED 52: HANG_UP_AGENT AGENT_BACK_TO_READY HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
    },
    "DIALING": {
        "progress": "ALERTING",
        "progress with media": "ALERTING: START_EARLY_ANALYSIS",
        "answered": "ANALYSING: MARK_ANSWERED START_ANALYSIS",
        "early busy": "FINISHED 6: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "customer ended": "FINISHED 6: CLOSE_RECORD FINISH",
        "customer lost": "FINISHED 46: CLOSE_RECORD FINISH",
        "not placed": "FINISHED 44: CLOSE_RECORD FINISH",
        "agent reserved": "bug",
        "deadline": "FINISHED 7: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "given up": "FINISHED 7: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "forced": "FINISHED 46: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "withdrawn": "FINISHED 51: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "cancelled": "FINISHED 52: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "media failed": "FINISHED 4: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
    },
    "DIALING (designated)": {
        "progress": "ALERTING: PLAY_RINGBACK_TO_AGENT",
        "progress with media": "ALERTING: BRIDGE_EARLY",
        "answered": "TALKING: MARK_ANSWERED BRIDGE MARK_CONNECTED",
        "customer ended": "WRAP_UP 6: HANG_UP_AGENT AGENT_TO_WRAP_UP",
        "customer lost": "WRAP_UP 3: HANG_UP_AGENT AGENT_TO_WRAP_UP",
        "not placed": "WRAP_UP 44: HANG_UP_AGENT AGENT_TO_WRAP_UP",
        "agent reserved": "bug",
        "agent ended": "WRAP_UP 37: HANG_UP_CUSTOMER HANG_UP_AGENT AGENT_TO_WRAP_UP",
        "deadline": "WRAP_UP 37: HANG_UP_CUSTOMER HANG_UP_AGENT AGENT_TO_WRAP_UP",
        "release": "WRAP_UP 37: HANG_UP_CUSTOMER HANG_UP_AGENT AGENT_TO_WRAP_UP",
        "forced": "FINISHED 46: HANG_UP_AGENT AGENT_BACK_TO_READY HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "withdrawn": "FINISHED 51: HANG_UP_AGENT AGENT_BACK_TO_READY HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "cancelled": "FINISHED 52: HANG_UP_AGENT AGENT_BACK_TO_READY HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "media failed": "WRAP_UP 4: HANG_UP_CUSTOMER HANG_UP_AGENT AGENT_TO_WRAP_UP",
    },
    "ALERTING": {
        "progress with media": "ALERTING: START_EARLY_ANALYSIS",
        "answered": "ANALYSING: MARK_ANSWERED START_ANALYSIS",
        "early busy": "FINISHED 6: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "customer ended": "FINISHED 6: CLOSE_RECORD FINISH",
        "customer lost": "FINISHED 46: CLOSE_RECORD FINISH",
        "media failed": "FINISHED 4: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "not placed": "bug",
        "agent reserved": "bug",
        "deadline": "FINISHED 7: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "given up": "FINISHED 7: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "forced": "FINISHED 46: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "withdrawn": "FINISHED 51: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "cancelled": "FINISHED 52: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
    },
    "ALERTING (designated)": {
        "progress with media": "ALERTING: BRIDGE_EARLY",
        "answered": "TALKING: MARK_ANSWERED BRIDGE MARK_CONNECTED",
        "customer ended": "WRAP_UP 6: HANG_UP_AGENT AGENT_TO_WRAP_UP",
        "customer lost": "WRAP_UP 3: HANG_UP_AGENT AGENT_TO_WRAP_UP",
        "media failed": "WRAP_UP 4: HANG_UP_CUSTOMER HANG_UP_AGENT AGENT_TO_WRAP_UP",
        "not placed": "bug",
        "agent reserved": "bug",
        "agent ended": "WRAP_UP 7: HANG_UP_CUSTOMER HANG_UP_AGENT AGENT_TO_WRAP_UP",
        "deadline": "WRAP_UP 7: HANG_UP_CUSTOMER HANG_UP_AGENT AGENT_TO_WRAP_UP",
        "release": "WRAP_UP 7: HANG_UP_CUSTOMER HANG_UP_AGENT AGENT_TO_WRAP_UP",
        "forced": "FINISHED 46: HANG_UP_AGENT AGENT_BACK_TO_READY HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "withdrawn": "FINISHED 51: HANG_UP_AGENT AGENT_BACK_TO_READY HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "cancelled": "FINISHED 52: HANG_UP_AGENT AGENT_BACK_TO_READY HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
    },
    "ANALYSING": {
        "person": "WAITING: SEEK_AGENT",
        "machine": "FINISHED 9: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "fax": "FINISHED 17: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "customer ended": "FINISHED 5: CLOSE_RECORD FINISH",
        "customer lost": "FINISHED 46: CLOSE_RECORD FINISH",
        "media failed": "FINISHED 4: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "not placed": "bug",
        "agent reserved": "bug",
        "deadline": "WAITING: SEEK_AGENT",
        "forced": "FINISHED 46: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "withdrawn": "FINISHED 51: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "cancelled": "FINISHED 52: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
    },
    "WAITING": {
        "machine": "FINISHED 9: STOP_SEEKING HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "fax": "FINISHED 17: STOP_SEEKING HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "customer ended": "FINISHED 21: STOP_SEEKING CLOSE_RECORD FINISH",
        "customer lost": "FINISHED 21: STOP_SEEKING CLOSE_RECORD FINISH",
        "media failed": "FINISHED 4: STOP_SEEKING HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "not placed": "bug",
        "agent reserved": "CONNECTING: DIAL_AGENT",
        "deadline": "ANNOUNCING: STOP_SEEKING PLAY_DROP",
        "forced": "FINISHED 46: STOP_SEEKING HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "withdrawn": "ANNOUNCING: STOP_SEEKING PLAY_DROP",
        "cancelled": "ANNOUNCING: STOP_SEEKING PLAY_DROP",
    },
    "WAITING (machine)": {
        "customer ended": "FINISHED 9: STOP_SEEKING CLOSE_RECORD FINISH",
        "customer lost": "FINISHED 9: STOP_SEEKING CLOSE_RECORD FINISH",
        "media failed": "FINISHED 4: STOP_SEEKING HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "not placed": "bug",
        "agent reserved": "CONNECTING: DIAL_AGENT",
        "deadline": "FINISHED 9: STOP_SEEKING HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "forced": "FINISHED 46: STOP_SEEKING HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "withdrawn": "FINISHED 51: STOP_SEEKING HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "cancelled": "FINISHED 52: STOP_SEEKING HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
    },
    "CONNECTING": {
        "machine": "FINISHED 9: HANG_UP_AGENT AGENT_BACK_TO_READY HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "fax": "FINISHED 17: HANG_UP_AGENT AGENT_BACK_TO_READY HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "customer ended": "FINISHED 21: HANG_UP_AGENT AGENT_BACK_TO_READY CLOSE_RECORD FINISH",
        "customer lost": "FINISHED 21: HANG_UP_AGENT AGENT_BACK_TO_READY CLOSE_RECORD FINISH",
        "media failed": "FINISHED 4: HANG_UP_AGENT AGENT_BACK_TO_READY HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "not placed": "bug",
        "agent reserved": "bug",
        "agent answered": "TALKING: BRIDGE MARK_CONNECTED",
        "agent ended": "WAITING: AGENT_NOT_READY SEEK_AGENT",
        "deadline": "ANNOUNCING: HANG_UP_AGENT AGENT_BACK_TO_READY PLAY_DROP",
        "forced": "FINISHED 46: HANG_UP_AGENT AGENT_BACK_TO_READY HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "withdrawn": "ANNOUNCING: HANG_UP_AGENT AGENT_BACK_TO_READY PLAY_DROP",
        "cancelled": "ANNOUNCING: HANG_UP_AGENT AGENT_BACK_TO_READY PLAY_DROP",
    },
    "CONNECTING (machine)": {
        "customer ended": "FINISHED 9: HANG_UP_AGENT AGENT_BACK_TO_READY CLOSE_RECORD FINISH",
        "customer lost": "FINISHED 9: HANG_UP_AGENT AGENT_BACK_TO_READY CLOSE_RECORD FINISH",
        "media failed": "FINISHED 4: HANG_UP_AGENT AGENT_BACK_TO_READY HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "not placed": "bug",
        "agent reserved": "bug",
        "agent answered": "TALKING: BRIDGE MARK_CONNECTED",
        "agent ended": "WAITING: AGENT_NOT_READY SEEK_AGENT",
        "deadline": "FINISHED 9: HANG_UP_AGENT AGENT_BACK_TO_READY HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "forced": "FINISHED 46: HANG_UP_AGENT AGENT_BACK_TO_READY HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "withdrawn": "FINISHED 51: HANG_UP_AGENT AGENT_BACK_TO_READY HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "cancelled": "FINISHED 52: HANG_UP_AGENT AGENT_BACK_TO_READY HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
    },
    "TALKING": {
        "customer ended": "FINISHED 33: HANG_UP_AGENT AGENT_TO_WRAP_UP CLOSE_RECORD FINISH",
        "customer lost": "FINISHED 33: HANG_UP_AGENT AGENT_TO_WRAP_UP CLOSE_RECORD FINISH",
        "not placed": "bug",
        "agent reserved": "bug",
        "agent ended": "FINISHED 33: HANG_UP_CUSTOMER AGENT_TO_WRAP_UP CLOSE_RECORD FINISH",
        "release": "FINISHED 33: HANG_UP_CUSTOMER HANG_UP_AGENT AGENT_TO_WRAP_UP CLOSE_RECORD FINISH",
        "forced": "TALKING: CLOSE_RECORD",
        "machine": "TALKING 9: TELL_AGENT",
        "fax": "FINISHED 17: TELL_AGENT HANG_UP_AGENT AGENT_FREED HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
    },
    "TALKING (designated)": {
        "customer ended": "WRAP_UP 33: HANG_UP_AGENT AGENT_TO_WRAP_UP",
        "customer lost": "WRAP_UP 33: HANG_UP_AGENT AGENT_TO_WRAP_UP",
        "not placed": "bug",
        "agent reserved": "bug",
        "agent ended": "WRAP_UP 33: HANG_UP_CUSTOMER AGENT_TO_WRAP_UP",
        "release": "WRAP_UP 33: HANG_UP_CUSTOMER HANG_UP_AGENT AGENT_TO_WRAP_UP",
        "forced": "TALKING: CLOSE_RECORD",
    },
    "WRAP_UP (designated)": {
        "agent reserved": "bug",
        "deadline": "FINISHED 46: CLOSE_RECORD FINISH",
        "processed": "FINISHED 6: CLOSE_RECORD FINISH",
        "agent gone": "FINISHED 6: CLOSE_RECORD FINISH",
        "forced": "FINISHED 6: CLOSE_RECORD FINISH",
        "withdrawn": "FINISHED 6: CLOSE_RECORD FINISH",
        "cancelled": "FINISHED 6: CLOSE_RECORD FINISH",
    },
    "ANNOUNCING": {
        "customer ended": "FINISHED 26: CLOSE_RECORD FINISH",
        "customer lost": "FINISHED 26: CLOSE_RECORD FINISH",
        "not placed": "bug",
        "agent reserved": "bug",
        "prompt finished": "FINISHED 26: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "prompt failed": "FINISHED 26: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "deadline": "FINISHED 26: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
    },
    "AWAITING_BEEP (machine)": {
        "beep": "PLAYING: PLAY_MESSAGE",
        "customer ended": "FINISHED 9: CLOSE_RECORD FINISH",
        "customer lost": "FINISHED 9: CLOSE_RECORD FINISH",
        "media failed": "FINISHED 4: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "not placed": "bug",
        "agent reserved": "bug",
        "deadline": "PLAYING: PLAY_MESSAGE",
        "forced": "FINISHED 46: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "withdrawn": "FINISHED 51: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "cancelled": "FINISHED 52: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
    },
    "PLAYING": {
        "customer ended": "FINISHED 33: CLOSE_RECORD FINISH",
        "customer lost": "FINISHED 33: CLOSE_RECORD FINISH",
        "media failed": "FINISHED 4: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "not placed": "bug",
        "agent reserved": "bug",
        "prompt finished": "FINISHED 33: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "prompt failed": "ANNOUNCING: PLAY_DROP",
        "deadline": "FINISHED 33: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "forced": "FINISHED 46: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "withdrawn": "FINISHED 51: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "cancelled": "FINISHED 52: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
    },
    "PLAYING (machine)": {
        "customer ended": "FINISHED 9: CLOSE_RECORD FINISH",
        "customer lost": "FINISHED 9: CLOSE_RECORD FINISH",
        "media failed": "FINISHED 4: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "not placed": "bug",
        "agent reserved": "bug",
        "prompt finished": "FINISHED 9: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "prompt failed": "FINISHED 9: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "deadline": "FINISHED 9: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "forced": "FINISHED 46: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "withdrawn": "FINISHED 51: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "cancelled": "FINISHED 52: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
    },
    "TRANSFERRING": {
        "customer ended": "FINISHED 21: HANG_UP_DESTINATION CLOSE_RECORD FINISH",
        "customer lost": "FINISHED 21: HANG_UP_DESTINATION CLOSE_RECORD FINISH",
        "media failed": "FINISHED 4: HANG_UP_DESTINATION HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "not placed": "bug",
        "agent reserved": "bug",
        "destination answered": "TRANSFERRED: BRIDGE_DESTINATION CLOSE_RECORD",
        "destination ended": "ANNOUNCING: HANG_UP_DESTINATION PLAY_DROP",
        "destination not dialed": "ANNOUNCING: HANG_UP_DESTINATION PLAY_DROP",
        "deadline": "ANNOUNCING: HANG_UP_DESTINATION PLAY_DROP",
        "forced": "FINISHED 46: HANG_UP_DESTINATION HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "withdrawn": "ANNOUNCING: HANG_UP_DESTINATION PLAY_DROP",
        "cancelled": "ANNOUNCING: HANG_UP_DESTINATION PLAY_DROP",
    },
    "TRANSFERRING (machine)": {
        "customer ended": "FINISHED 9: HANG_UP_DESTINATION CLOSE_RECORD FINISH",
        "customer lost": "FINISHED 9: HANG_UP_DESTINATION CLOSE_RECORD FINISH",
        "media failed": "FINISHED 4: HANG_UP_DESTINATION HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "not placed": "bug",
        "agent reserved": "bug",
        "destination answered": "TRANSFERRED: BRIDGE_DESTINATION CLOSE_RECORD",
        "destination ended": "FINISHED 9: HANG_UP_DESTINATION HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "destination not dialed": "FINISHED 9: HANG_UP_DESTINATION HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "deadline": "FINISHED 9: HANG_UP_DESTINATION HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "forced": "FINISHED 46: HANG_UP_DESTINATION HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "withdrawn": "FINISHED 51: HANG_UP_DESTINATION HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "cancelled": "FINISHED 52: HANG_UP_DESTINATION HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
    },
    "TRANSFERRED": {
        "customer ended": "FINISHED 33: HANG_UP_DESTINATION FINISH",
        "customer lost": "FINISHED 33: HANG_UP_DESTINATION FINISH",
        "not placed": "bug",
        "agent reserved": "bug",
        "destination ended": "FINISHED 33: HANG_UP_CUSTOMER FINISH",
        "destination not dialed": "FINISHED 33: HANG_UP_CUSTOMER FINISH",
        "release": "FINISHED 33: HANG_UP_CUSTOMER HANG_UP_DESTINATION FINISH",
    },
    "IN_APPLICATION": {
        "customer ended": "FINISHED 33: HANG_UP_DESTINATION CLOSE_RECORD FINISH",
        "customer lost": "FINISHED 33: HANG_UP_DESTINATION CLOSE_RECORD FINISH",
        "not placed": "bug",
        "agent reserved": "bug",
        "destination answered": "IN_DIALOG 33: BRIDGE_DIALOG",
        "destination ended": "ANNOUNCING 26: HANG_UP_DESTINATION PLAY_DROP",
        "destination not dialed": "ANNOUNCING 26: HANG_UP_DESTINATION PLAY_DROP",
        "application done": "FINISHED 33: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "application failed": "ANNOUNCING 26: HANG_UP_DESTINATION PLAY_DROP",
        "application wants an agent": "WAITING 33: SEEK_AGENT",
        "application calls out": "TRANSFERRING 33: DIAL_DESTINATION PLAY_RINGBACK",
        "deadline": "ANNOUNCING 26: HANG_UP_DESTINATION PLAY_DROP",
        "forced": "FINISHED 46: HANG_UP_DESTINATION HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
    },
    "IN_APPLICATION (machine)": {
        "customer ended": "FINISHED 9: HANG_UP_DESTINATION CLOSE_RECORD FINISH",
        "customer lost": "FINISHED 9: HANG_UP_DESTINATION CLOSE_RECORD FINISH",
        "not placed": "bug",
        "agent reserved": "bug",
        "destination answered": "IN_DIALOG 9: BRIDGE_DIALOG",
        "destination ended": "FINISHED 9: HANG_UP_DESTINATION HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "destination not dialed": "FINISHED 9: HANG_UP_DESTINATION HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "application done": "FINISHED 9: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "application failed": "FINISHED 9: HANG_UP_DESTINATION HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "application wants an agent": "WAITING 9: SEEK_AGENT",
        "application calls out": "TRANSFERRING 9: DIAL_DESTINATION PLAY_RINGBACK",
        "deadline": "FINISHED 9: HANG_UP_DESTINATION HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "forced": "FINISHED 46: HANG_UP_DESTINATION HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
    },
    "IN_APPLICATION (dialog)": {
        "customer ended": "FINISHED 21: HANG_UP_DESTINATION CLOSE_RECORD FINISH",
        "customer lost": "FINISHED 21: HANG_UP_DESTINATION CLOSE_RECORD FINISH",
        "not placed": "bug",
        "agent reserved": "bug",
        "destination answered": "IN_DIALOG 33: BRIDGE_DIALOG",
        "destination ended": "ANNOUNCING 26: HANG_UP_DESTINATION PLAY_DROP",
        "destination not dialed": "ANNOUNCING 26: HANG_UP_DESTINATION PLAY_DROP",
        "application done": "FINISHED 33: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "application failed": "ANNOUNCING 26: HANG_UP_DESTINATION PLAY_DROP",
        "application wants an agent": "WAITING 33: SEEK_AGENT",
        "application calls out": "TRANSFERRING 33: DIAL_DESTINATION PLAY_RINGBACK",
        "deadline": "ANNOUNCING 26: HANG_UP_DESTINATION PLAY_DROP",
        "media failed": "FINISHED 4: HANG_UP_DESTINATION HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "forced": "FINISHED 46: HANG_UP_DESTINATION HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
    },
    "IN_DIALOG": {
        "customer ended": "FINISHED 33: HANG_UP_DESTINATION CLOSE_RECORD FINISH",
        "customer lost": "FINISHED 33: HANG_UP_DESTINATION CLOSE_RECORD FINISH",
        "not placed": "bug",
        "agent reserved": "bug",
        "destination ended": "FINISHED 33: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "destination not dialed": "FINISHED 33: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "deadline": "FINISHED 33: HANG_UP_CUSTOMER HANG_UP_DESTINATION CLOSE_RECORD FINISH",
        "release": "FINISHED 33: HANG_UP_CUSTOMER HANG_UP_DESTINATION CLOSE_RECORD FINISH",
        "forced": "IN_DIALOG 33: CLOSE_RECORD",
    },
    "IN_DIALOG (machine)": {
        "customer ended": "FINISHED 9: HANG_UP_DESTINATION CLOSE_RECORD FINISH",
        "customer lost": "FINISHED 9: HANG_UP_DESTINATION CLOSE_RECORD FINISH",
        "not placed": "bug",
        "agent reserved": "bug",
        "destination ended": "FINISHED 9: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "destination not dialed": "FINISHED 9: HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
        "deadline": "FINISHED 9: HANG_UP_CUSTOMER HANG_UP_DESTINATION CLOSE_RECORD FINISH",
        "release": "FINISHED 9: HANG_UP_CUSTOMER HANG_UP_DESTINATION CLOSE_RECORD FINISH",
        "forced": "IN_DIALOG 9: CLOSE_RECORD",
    },
    "WAITING (queued)": {
        "customer ended": "FINISHED 33: STOP_SEEKING CLOSE_RECORD FINISH",
        "customer lost": "FINISHED 33: STOP_SEEKING CLOSE_RECORD FINISH",
        "not placed": "bug",
        "agent reserved": "CONNECTING 33: DIAL_AGENT",
        "deadline": "IN_APPLICATION 33: STOP_SEEKING APPLICATION_GOES_ON",
        "forced": "FINISHED 46: STOP_SEEKING HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
    },
    "CONNECTING (queued)": {
        "customer ended": "FINISHED 33: HANG_UP_AGENT AGENT_BACK_TO_READY CLOSE_RECORD FINISH",
        "customer lost": "FINISHED 33: HANG_UP_AGENT AGENT_BACK_TO_READY CLOSE_RECORD FINISH",
        "not placed": "bug",
        "agent reserved": "bug",
        "agent answered": "TALKING 33: BRIDGE MARK_CONNECTED",
        "agent ended": "WAITING 33: AGENT_NOT_READY SEEK_AGENT",
        "deadline": "IN_APPLICATION 33: HANG_UP_AGENT AGENT_BACK_TO_READY APPLICATION_GOES_ON",
        "forced": "FINISHED 46: HANG_UP_AGENT AGENT_BACK_TO_READY HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
    },
    "TRANSFERRING (application)": {
        "customer ended": "FINISHED 33: HANG_UP_DESTINATION CLOSE_RECORD FINISH",
        "customer lost": "FINISHED 33: HANG_UP_DESTINATION CLOSE_RECORD FINISH",
        "not placed": "bug",
        "agent reserved": "bug",
        "destination answered": "TRANSFERRED 33: BRIDGE_DESTINATION CLOSE_RECORD",
        "destination ended": "IN_APPLICATION 33: HANG_UP_DESTINATION APPLICATION_GOES_ON",
        "destination not dialed": "IN_APPLICATION 33: HANG_UP_DESTINATION APPLICATION_GOES_ON",
        "deadline": "IN_APPLICATION 33: HANG_UP_DESTINATION APPLICATION_GOES_ON",
        "forced": "FINISHED 46: HANG_UP_DESTINATION HANG_UP_CUSTOMER CLOSE_RECORD FINISH",
    },
    "FINISHED": {},
}
"""Next state, with the result where it is fixed, and what is to be done. What is not here is ignored."""


def machine_of(plan, *events, designated=False, plans=None):
    chosen = plans if plans is not None else {}
    machine = AttemptMachine(
        AttemptRules(),
        0.0,
        designated_agent="a" if designated else None,
        plan_of=lambda result: chosen.get(result, plan),
    )
    now_s, done = 0.0, ()
    for event in events:
        now_s = max(now_s + 1.0, machine.deadline_s if isinstance(event, DeadlinePassed) else 0.0)
        done = machine.on(event, now_s)
    return machine, now_s, done


def test_given_the_table_when_read_then_every_state_is_in_it():
    assert {name.split(" ")[0] for name in TABLE} == {state.name for state in AttemptState}
    assert set(TABLE) == set(WAYS)


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("event", EVENTS)
def test_given_a_state_when_an_event_comes_then_the_machine_does_what_the_table_says(name, event):
    plan, way = WAYS[name]
    machine, now_s, _ = machine_of(plan, *way, designated="designated" in name)
    assert machine.state.name == name.split(" ")[0]
    before, expected = machine.state, TABLE[name].get(event, "")
    now_s = (
        max(now_s + 1.0, machine.deadline_s) if event == "deadline" and machine.deadline_s < math.inf else now_s + 1.0
    )

    if expected == "bug":
        with pytest.raises(InvariantError, match=before.name):
            machine.on(EVENTS[event], now_s)
        return
    done = machine.on(EVENTS[event], now_s)

    if not expected:
        assert (machine.state, done) == (before, ())
        return
    state, _, to_do = expected.partition(": ")
    name_of, _, result = state.partition(" ")
    assert machine.state.name == name_of
    assert [do.name for do in done] == to_do.split()
    if result:
        assert machine.result == int(result)
    assert (machine.state is AttemptState.FINISHED) is (Do.FINISH in done)


# --- what a table cannot say ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plans", "done", "state"),
    [
        ({}, (Do.STOP_SEEKING, Do.HANG_UP_CUSTOMER, Do.CLOSE_RECORD, Do.FINISH), AttemptState.FINISHED),
        ({CallResult.ANSWERING_MACHINE: CONNECT}, (), AttemptState.WAITING),
        ({CallResult.ANSWERING_MACHINE: PLAY}, (Do.STOP_SEEKING,), AttemptState.AWAITING_BEEP),
        (
            {CallResult.ANSWERING_MACHINE: TRANSFER},
            (Do.STOP_SEEKING, Do.DIAL_DESTINATION, Do.PLAY_RINGBACK),
            AttemptState.TRANSFERRING,
        ),
    ],
)
def test_given_a_person_who_turns_out_a_machine_when_waiting_then_the_machines_call_action_takes_over(
    plans, done, state
):
    machine, _, last = machine_of(None, Answered(), PERSON, MACHINE, plans=plans)

    assert (last, machine.state) == (done, state)
    assert machine.result == CallResult.ANSWERING_MACHINE


def test_given_a_message_to_a_person_who_turns_out_a_machine_when_no_action_is_for_those_then_it_is_hung_up():
    machine, _, last = machine_of(None, Answered(), PERSON, MACHINE, plans={CallResult.ANSWER: PLAY})

    assert last == (Do.HANG_UP_CUSTOMER, Do.CLOSE_RECORD, Do.FINISH)
    assert machine.result == CallResult.ANSWERING_MACHINE


def test_given_a_transfer_of_a_person_who_turns_out_a_machine_when_the_action_is_the_same_then_it_goes_on():
    machine, now_s, last = machine_of(TRANSFER, Answered(), PERSON, MACHINE)
    assert (last, machine.state) == ((), AttemptState.TRANSFERRING)

    machine.on(DestinationAnswered(), now_s + 1.0)
    assert machine.result == CallResult.ANSWERING_MACHINE


@pytest.mark.parametrize("action", [CallAction.SEND_FAX, CallAction.SEND_PAGE, CallAction.SEND_EMAIL])
def test_given_an_action_that_no_version_carries_out_when_a_machine_answers_then_it_is_hung_up(action):
    machine, _, last = machine_of(CallPlan(action), Answered(), MACHINE)

    assert last == (Do.HANG_UP_CUSTOMER, Do.CLOSE_RECORD, Do.FINISH)
    assert machine.result == CallResult.ANSWERING_MACHINE


def test_given_mute_transfer_when_a_person_answers_then_nothing_is_played():
    _, _, last = machine_of(CallPlan(CallAction.MUTE_TRANSFER, destination="sip:d@x"), Answered(), PERSON)

    assert last == (Do.DIAL_DESTINATION,)


@pytest.mark.parametrize(("placed", "result"), [(True, CallResult.DROPPED), (False, CallResult.TRANSFER_ERROR)])
def test_given_a_failed_transfer_of_a_person_when_it_was_not_even_dialed_then_it_is_a_transfer_error(placed, result):
    machine, now_s, _ = machine_of(TRANSFER, Answered(), PERSON, DestinationEnded(placed))

    machine.on(PromptFinished(), now_s + 5.0)
    assert machine.result == result
    assert "abandoned" in machine.marks


def test_given_drop_for_a_person_when_answered_then_announced_and_the_result_stays_answer():
    machine, now_s, last = machine_of(DROP, Answered(), PERSON)
    assert last == (Do.PLAY_DROP,)

    machine.on(PromptFinished(), now_s + 5.0)
    assert machine.result == CallResult.ANSWER


def test_given_a_machine_connected_to_an_agent_when_they_are_bridged_then_it_stays_a_machine_and_counts_as_talked():
    machine, _, _ = machine_of(CONNECT, Answered(), MACHINE, AgentReserved("a"), AgentAnswered(), CustomerEnded(200))

    assert machine.result == CallResult.ANSWERING_MACHINE
    assert machine.bridged


def test_given_a_transfer_when_both_talk_then_no_agent_has_and_the_record_is_closed():
    machine, _, _ = machine_of(TRANSFER, Answered(), PERSON, DestinationAnswered())

    assert machine.record_closed
    assert not machine.bridged
    assert machine.deadline_s == math.inf


def test_given_a_withdrawn_person_who_waits_when_announced_then_the_result_is_the_withdrawal():
    machine, now_s, _ = machine_of(None, Answered(), PERSON, Withdrawn())

    machine.on(PromptFinished(), now_s + 5.0)
    assert machine.result == CallResult.DO_NOT_CALL


@pytest.mark.parametrize(
    ("events", "status", "counted"),
    [
        ((AgentEnded(), AgentGone()), RecordStatus.READY, False),
        ((AgentEnded(), RecordProcessed(None)), RecordStatus.UPDATED, False),
        ((AgentEnded(), RecordUpdated(53), AgentGone()), RecordStatus.UPDATED, False),
        ((AgentEnded(), DeadlinePassed()), RecordStatus.STALE, False),
        ((AgentAnswered(), NotPlaced(CallResult.UNKNOWN), AgentGone()), RecordStatus.READY, False),
        ((AgentAnswered(), NotPlaced(CallResult.DIAL_ERROR, useless=True), AgentGone()), RecordStatus.UPDATED, False),
        ((AgentAnswered(), CustomerEnded(486), AgentGone()), RecordStatus.UPDATED, True),
        ((Forced(),), RecordStatus.STALE, False),
        ((AgentAnswered(), Forced()), RecordStatus.STALE, True),
        ((Withdrawn(),), RecordStatus.UPDATED, False),
    ],
)
def test_given_a_designated_call_when_its_record_is_closed_then_what_was_never_dialed_is_not_counted(
    events, status, counted
):
    machine, _, last = machine_of(None, *events, designated=True)

    assert last[-2:] == (Do.CLOSE_RECORD, Do.FINISH)
    assert (machine.record_status, machine.count_attempt) == (status, counted)
    assert machine.agent_id == "a"
    assert not machine.bridged


def test_given_a_designated_agent_who_is_done_before_the_end_when_the_call_fails_then_the_record_is_closed_at_once():
    events = (AgentAnswered(), RecordProcessed(53), Progress(False), CustomerEnded(486))
    machine, _, last = machine_of(None, *events, designated=True)

    assert last == (Do.HANG_UP_AGENT, Do.AGENT_TO_WRAP_UP, Do.CLOSE_RECORD, Do.FINISH)
    assert machine.result == 53


def test_given_a_designated_agent_when_its_phone_answers_then_the_attempt_begins_with_the_customers_dialing():
    machine, _, last = machine_of(None, AgentAnswered(), designated=True)

    assert last == (Do.DIAL_CUSTOMER,)
    assert machine.started_s == 1.0
    assert AttemptMachine(AttemptRules(), 0.0).start() == (Do.DIAL_CUSTOMER,)
    assert AttemptMachine(AttemptRules(), 0.0, designated_agent="a").start() == (Do.DIAL_AGENT,)

"""Configuration objects of voice applications (Progressive and Power GVP) and of IVR ports."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ocsd.model.enums import CallResult

KEYS: Final = "0123456789*#"

_Name = Annotated[str, Field(min_length=1, max_length=255)]
_Names = tuple[_Name, ...]
_LANGUAGE: Final = re.compile(r"([a-z]{2,3}(-[A-Za-z0-9]{2,8})*)?")


class _Object(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


DIGITS: Final = "digits:"
"""``digits:COLUMN`` among the prompts: the digits of a user column of the record, one by one."""
DIGIT_FILES: Final = tuple(f"digits/{digit}.wav" for digit in range(10))
MOST_DIGITS: Final = 32


def spoken_column(prompt: str) -> str | None:
    """The column whose digits a prompt says; None: it is a file."""
    return prompt.removeprefix(DIGITS) if prompt.startswith(DIGITS) else None


def spoken(prompts: Iterable[str], values: Mapping[str, object]) -> tuple[str, ...]:
    """The files that are played; ``values``: of the record's user columns. What is no digit is left out."""
    files: list[str] = []
    for prompt in prompts:
        if (column := spoken_column(prompt)) is None:
            files.append(prompt)
            continue
        value = values.get(column)
        text = "" if value is None else str(value)
        files += [DIGIT_FILES[int(each)] for each in text if each.isascii() and each.isdigit()][:MOST_DIGITS]
    return tuple(files)


class VoiceStep(_Object):
    """
    One step of a voice application. The steps follow each other in the order in which they stand, unless ``next`` or a
    choice names another one; after the last one the call is hung up.

        play        plays ``prompts``; with ``barge_in`` a key ends it, and counts for the menu that follows
        menu        plays ``prompts`` and waits ``timeout_s`` for a key of ``choices``; another key plays ``no_match``,
                    none ``no_input``, and the menu begins anew, ``retries`` times; then ``otherwise``
        record      sets the record's ``result`` and user ``fields``; ``do_not_call``: nobody calls the person again
        queue       to an agent of ``agent_group`` (empty: the campaign group's own), with ``attach`` as attached data;
                    ``prompts`` are heard meanwhile, again and again; ``otherwise`` after ``wait_s`` without an agent
        transfer    to ``destination``, a SIP URI, or digits dialed over the trunk of the call; ``otherwise`` when
                    nobody answers. With ``refer`` the called party's side calls it by itself, and takes the call along
        hang_up     ends the call
    """

    do: Literal["play", "menu", "record", "queue", "transfer", "hang_up"]
    name: Annotated[str, Field(max_length=255)] = ""
    next: str = ""
    prompts: _Names = ()
    barge_in: bool = True
    choices: dict[str, str] = {}
    """Name of a step by key, 0-9 * #."""
    timeout_s: Annotated[float, Field(gt=0, le=120)] = 5.0
    retries: Annotated[int, Field(ge=0, le=20)] = 2
    no_input: _Names = ()
    no_match: _Names = ()
    otherwise: str = ""
    result: CallResult | None = None
    fields: dict[str, str | int | float] = {}
    """Values by user column."""
    do_not_call: bool = False
    agent_group: str = ""
    attach: dict[str, str] = {}
    wait_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    destination: str = ""
    refer: bool = False

    @field_validator("result", mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        known = {member.name.lower(): member for member in CallResult}
        known |= {str(int(member)): member for member in CallResult}
        if value is None or (not isinstance(value, bool) and str(value).lower() in known):
            return known[str(value).lower()] if value is not None else None
        raise ValueError(f'must be a call result, by number or by name ("answer", "wrong_party"), got {value!r}')


class VoiceApplication(_Object):
    """
    What an answered call runs in the GVP modes: ``steps`` carried out by ocsd itself, or the ``url`` of a VoiceXML
    document that a VoiceXML media server (RFC 5552) fetches.

    Attributes:
        language: of the prompts; ``language_field``: user column of the record that names another one.
        media_server: ``sip:host:port`` of the VoiceXML media server.
        answer_s: longest time in which it has to answer.
        parameters: parameters of the Request-URI besides those of the record, for
            ``session.connection.protocol.sip.requesturi``.
        limit_s: longest time that the application may take; the call is released then.
    """

    dbid: Annotated[int, Field(ge=1, le=2**31 - 1)]
    name: _Name
    language: str = ""
    language_field: str = ""
    steps: tuple[VoiceStep, ...] = ()
    url: str = Field(default="", repr=False)
    media_server: str = ""
    answer_s: Annotated[float, Field(gt=0, le=30)] = 2.0
    parameters: dict[str, str] = {}
    limit_s: Annotated[float, Field(ge=10, le=86_400)] = 900.0

    @field_validator("language")
    @classmethod
    def _tag(cls, value: str) -> str:
        if not _LANGUAGE.fullmatch(value):
            raise ValueError(f"must be a language tag such as en or pt-BR, got {value!r}")
        return value

    @property
    def is_vxml(self) -> bool:
        """Carried out by a VoiceXML media server."""
        return bool(self.url)


class Place(_Object):
    """A DN without an agent: with ``ivr_group`` of its agent group a port of an IVR behind the switch."""

    dbid: Annotated[int, Field(ge=1, le=2**31 - 1)]
    name: Annotated[str, Field(min_length=1, max_length=32)]
    """Unique among login IDs too; it stands in the column ``agent_id``."""
    dn: str
    """SIP URI that is called for a customer who is to be connected."""

"""A small client of the control port, for programs (`ControlClient`), for trio (`AsyncControlClient`), for `ocsd ctl`.

>>> with ControlClient("http://127.0.0.1:8080") as ocs:  # doctest: +SKIP
...     ocs.load(106)
...     ocs.start(106, DialMode.PREDICTIVE, OptimizeBy.OVERDIAL_RATE, 3)
...     ocs.add_record("Alpha List", NewRecord("4155670000", "PST"), campaign_name="Alpha Campaign")
...     ocs.do_not_call(Phone("4155555555", tenant="Alpha Tenant"))

Requests and answers are values (`ocsd.client.calls`, `ocsd.client.answers`); the two clients only carry them.
"""

from ocsd.client.calls import Call, Naming
from ocsd.client.control import ControlClient
from ocsd.client.control_trio import AsyncControlClient
from ocsd.client.errors import ERROR_MEANINGS, ControlError, ControlUnavailable
from ocsd.client.targets import CustomerId, CustomFields, NewRecord, Phone, RecordHandle, Tenant, Withdrawable
from ocsd.model.enums import CallbackType, RecordTreatment

__all__ = [
    "ERROR_MEANINGS",
    "AsyncControlClient",
    "Call",
    "CallbackType",
    "ControlClient",
    "ControlError",
    "ControlUnavailable",
    "CustomFields",
    "CustomerId",
    "Naming",
    "NewRecord",
    "Phone",
    "RecordHandle",
    "RecordTreatment",
    "Tenant",
    "Withdrawable",
]

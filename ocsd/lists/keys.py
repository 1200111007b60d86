"""What counts as a duplicate in a calling list, and what becomes of it: words of the command line, see `duplicates`."""

from enum import StrEnum


class Action(StrEnum):
    """What becomes of duplicates; *keep*: they are not looked for."""

    KEEP = "keep"
    SKIP = "skip"
    UPDATE = "update"
    REFUSE = "refuse"


class Key(StrEnum):
    """When two rows are about the same: column names joined by +; customer_id is the list's customer_id_field."""

    PHONE = "contact_info"
    CUSTOMER = "customer_id"
    PHONE_AND_CUSTOMER = "contact_info+customer_id"
    PHONE_AND_CHAIN = "contact_info+chain_id"

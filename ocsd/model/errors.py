"""Errors sorted by who must act (see docs/adr/0001)."""

from ocsd.model.enums import GSW_ERROR_NAMES, CmError, GswError


class OcsdError(Exception):
    """Root of every error that ocsd raises on purpose."""


class ConfigError(OcsdError):
    """The operator must change something. ``problems`` lists every fault found, one sentence each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class CampaignRequestError(OcsdError):
    """A campaign-group request that the manual answers with a ``GSW_CM_AttrError``."""

    def __init__(self, error: CmError, message: str) -> None:
        super().__init__(message)
        self.error = error
        self.message = message


class DesktopRequestError(OcsdError):
    """A desktop request that the manual answers with a ``GSW_ERROR_NUMBER``."""

    def __init__(self, error: GswError, message: str = "") -> None:
        super().__init__(message or GSW_ERROR_NAMES[error])
        self.error = error
        self.description = message


class TargetNotFound(DesktopRequestError):
    """The calling list, campaign or campaign group that a request for ``lists`` names is not configured (404)."""


class DependencyError(OcsdError):
    """Something outside is away; its owner retries with bounded backoff."""


class StoreUnavailable(DependencyError):
    """
    PostgreSQL cannot be reached or refused the statement for a passing reason.

    Attributes:
        said: what peers may be told; the text itself may name servers, accounts and files.
    """

    def __init__(self, message: str, *, said: str = "the database cannot be reached") -> None:
        super().__init__(message)
        self.said = said


class InvariantError(OcsdError):
    """A bug of ours: loud, with the state attached."""

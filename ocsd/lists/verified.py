"""What the journal knows of test calls: which answering machines have gone to agents. In SQL, and for memory stores.

Such a call has the call action CONNECT of no treatment in its evidence. One that a start-up had to settle has no
evidence; there the agent who was connected tells it.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg

from ocsd.model.records import FinishedAttempt

Connection = psycopg.Connection[Any]

LONGEST_BEFORE: Final = timedelta(minutes=15)
"""From the beginning of an attempt to its verdict: ringing, analysis, an outage; bounds the search by an index."""

_GIVEN: Final = """
    SELECT at FROM (
      SELECT coalesce(a.cpd_completed_at, a.started_at) AS at FROM ocsd.attempt AS a
      WHERE a.campaign_group_dbid = %(group)s AND a.started_at >= %(since)s - %(before)s AND a.verified
        AND a.cpa_verdict = 'machine' AND (
          (a.evidence #>> '{call_action,action}' = 'CONNECT' AND a.evidence #>> '{call_action,treatment_dbid}' = '0')
          OR (a.evidence IS NULL AND a.connected_at IS NOT NULL)
        )
    ) AS g WHERE at >= %(since)s ORDER BY at
    """


def machines_given(conn: Connection, campaign_group_dbid: int, since: datetime) -> list[datetime]:
    """See `ListStore.machines_given`. One transaction of the caller."""
    figures = {"group": campaign_group_dbid, "since": since, "before": LONGEST_BEFORE}
    return [at for (at,) in conn.execute(_GIVEN, figures)]


def is_given_machine(ended: FinishedAttempt) -> bool:
    """The same condition on what `ListStore.finish_attempt` was told."""
    if not ended.verified or ended.cpa_verdict != "machine":
        return False
    action = ended.evidence.get("call_action")
    if isinstance(action, Mapping):
        return action.get("action") == "CONNECT" and action.get("treatment_dbid") == 0
    return not ended.evidence and ended.agent_id is not None

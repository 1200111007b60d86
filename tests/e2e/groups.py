"""More campaign groups for a site of the end-to-end tests: each with a list of its own, told by customer_name."""

from collections.abc import Sequence
from dataclasses import dataclass

from ocsd.demo.world import CALLING_LIST
from ocsd.model.enums import DialMode

TRUNK = "Simulated Carrier"
"""The site's own."""


@dataclass(frozen=True)
class Group:
    """
    A campaign group named ``name``, and all it needs, with DBIDs from ``dbid`` (its own) on, ten apart. Its records are
    those whose customer_name is its name.

    ``options`` are lines of TOML within an inline table. Without ``agents`` the agent group has none.
    """

    dbid: int
    name: str
    mode: DialMode
    agents: Sequence[str] = ()
    trunks: Sequence[str] = (TRUNK,)
    options: Sequence[str] = ()
    list_options: Sequence[str] = ()
    campaign_options: Sequence[str] = ()
    lines: str = ""
    """More keys of the campaign group."""

    @property
    def agent_group_dbid(self) -> int:
        return self.dbid + 2

    def text(self) -> str:
        return f"""
            {_filter(self.dbid + 1, self.name)}

            [[agent_groups]]
            dbid = {self.agent_group_dbid}
            name = "{self.name}"
            agents = {_list(self.agents)}

            [[calling_lists]]
            dbid = {self.dbid + 3}
            name = "{self.name}"
            table_access = "Demo Table"
            filter = "{self.name}"
            daily_from = 0
            daily_till = 86400
            options = {{ {", ".join(self.list_options)} }}

            [[campaigns]]
            dbid = {self.dbid + 4}
            name = "{self.name}"
            tenant = "Environment"
            lists = [{{ calling_list = "{self.name}" }}]
            options = {{ {", ".join(self.campaign_options)} }}

            [[campaign_groups]]
            dbid = {self.dbid}
            name = "{self.name}"
            campaign = "{self.name}"
            group = "{self.name}"
            trunks = {_list(self.trunks)}
            dial_mode = {int(self.mode)}
            options = {{ {", ".join(self.options)} }}
            {self.lines}
            """


def with_groups(text: str, groups: Sequence[Group]) -> str:
    """The site's configuration with these groups. The demo's list gets a filter: each list of a table must."""
    name = f'name = "{CALLING_LIST}"\n'
    assert text.count(name) == 1
    text = text.replace(name, f'{name}filter = "nobody"\n') + _filter(groups[0].dbid + 9, "nobody")
    return text + "".join(group.text() for group in groups)


def _filter(dbid: int, name: str) -> str:
    return f'\n[[filters]]\ndbid = {dbid}\nname = "{name}"\ncriteria = "customer_name = \'{name}\'"\n'


def _list(names: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"

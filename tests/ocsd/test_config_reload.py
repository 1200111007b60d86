"""What a running daemon takes over from a changed configuration."""

from pathlib import Path

from ocsd.config.loader import load_configuration
from ocsd.config.objects import CampaignGroup
from ocsd.config.reload import LIVE_FIELDS, merge

EXAMPLE = Path(__file__).parents[2] / "deploy" / "example.toml"


def with_group(config, **changes):
    group = config.campaign_groups[0].model_copy(update=changes)
    return config.model_copy(update={"campaign_groups": (group, *config.campaign_groups[1:])})


def test_given_changed_options_when_merged_then_they_are_taken_over_at_once():
    running = load_configuration(EXAMPLE)
    read = with_group(running, options={"dialing_rate_limit": 5}, num_of_channels=77)

    merged, waiting = merge(running, read)

    assert waiting == []
    assert merged == read


def test_given_a_changed_listener_when_merged_then_it_waits_for_a_restart_and_the_old_one_stays():
    running = load_configuration(EXAMPLE)
    read = running.model_copy(update={"http": running.http.model_copy(update={"port": 9999})})

    merged, waiting = merge(running, read)

    assert merged == running
    assert waiting == ["http: the change takes effect after a restart"]


def test_given_an_object_that_changes_what_it_is_when_merged_then_only_its_limits_are_taken_over():
    running = load_configuration(EXAMPLE)
    read = with_group(running, group="Another Group", num_of_channels=77)

    merged, waiting = merge(running, read)

    assert merged.campaign_groups[0].group == running.campaign_groups[0].group
    assert merged.campaign_groups[0].num_of_channels == 77
    assert waiting == [f"campaign_groups {running.campaign_groups[0].dbid}: group takes effect after a restart"]


def test_given_objects_that_appear_and_disappear_when_merged_then_both_wait():
    running = load_configuration(EXAMPLE)
    gone = running.agents[0]
    new = gone.model_copy(update={"dbid": 9999, "login_id": "somebody"})
    read = running.model_copy(update={"agents": (*running.agents[1:], new)})

    merged, waiting = merge(running, read)

    assert merged.agents == running.agents
    assert waiting == [
        "agents: DBID 9999 is new, it is used after a restart",
        f"agents: DBID {gone.dbid} is gone, it is used until a restart",
    ]


def test_given_the_table_of_live_fields_when_compared_with_the_objects_then_every_name_exists():
    assert LIVE_FIELDS["campaign_groups"] <= set(CampaignGroup.model_fields)
    for section, names in LIVE_FIELDS.items():
        items = getattr(load_configuration(EXAMPLE), section)
        kind = type(items[0]) if isinstance(items, tuple) and items else type(items)
        assert (isinstance(items, tuple) and not items) or names <= set(kind.model_fields)

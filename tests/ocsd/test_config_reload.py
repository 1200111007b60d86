"""What a running daemon takes over from a changed configuration."""

from pathlib import Path

from ocsd.config.loader import load_configuration
from ocsd.config.objects import CampaignGroup, CampaignList, Configuration, FormatField
from ocsd.config.reload import FIXED_SECTIONS, LIVE_FIELDS, PLAIN_SECTIONS, merge
from ocsd.model.enums import CallResult

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


def changed(config, section, dbid, **changes):
    items = tuple(item.model_copy(update=changes) if item.dbid == dbid else item for item in getattr(config, section))
    return config.model_copy(update={section: items})


def test_given_changed_treatments_days_tables_caps_and_filters_when_merged_then_they_are_taken_over():
    running = load_configuration(EXAMPLE)
    read = changed(running, "treatments", 1, cycle_attempts=9, interval_min=1, number=3, call_result=None)
    read = changed(read, "stat_days", 2, start_min=600)
    read = changed(read, "stat_tables", 1, country="CA")
    read = changed(read, "attempt_caps", 1, max_attempts=2)
    read = changed(read, "filters", 1, criteria="balance > 0", order_by="")

    assert merge(running, read) == (read, [])


def test_given_another_name_of_a_treatment_when_merged_then_lists_still_find_it():
    running = load_configuration(EXAMPLE)
    read = changed(running, "treatments", 3, name="other")
    read = changed(read, "calling_lists", 2, treatments=("other",))
    read = changed(read, "calling_lists", 1, treatments=())

    merged, waiting = merge(running, read)

    assert (merged, waiting) == (read, [])
    assert [found.dbid for found in merged.treatments_of(merged.calling_list("Gold List"))] == [3]


def test_given_a_new_treatment_and_one_that_is_gone_when_merged_then_both_take_effect_at_once():
    running = load_configuration(EXAMPLE)
    new = running.treatments[0].model_copy(update={"dbid": 77, "name": "new", "call_result": CallResult.FAX})
    read = running.model_copy(update={"treatments": (*running.treatments[1:], new)})
    read = changed(read, "calling_lists", 1, treatments=("new",))

    assert merge(running, read) == (read, [])


def test_given_what_lists_may_dial_when_merged_then_it_is_taken_over():
    running = load_configuration(EXAMPLE)
    read = changed(
        running, "calling_lists", 1, filter="gold", daily_from=79200, daily_till=3600, max_attempts=1, treatments=(),
        calling_hours=(), attempt_caps=("us-fl",), strictest_zone=False, holiday_table="", weekday_table="",
        disposition_field="", customer_id_field="account", subject_field="segment", options={"CPNDigits": "1"},
    )  # fmt: skip

    assert merge(running, read) == (read, [])


def test_given_a_field_that_the_running_table_lacks_when_merged_then_what_may_need_it_waits_with_it():
    running = load_configuration(EXAMPLE)
    form = running.formats[0].model_copy(update={"fields": (*running.formats[0].fields, FormatField(name="extra"))})
    read = running.model_copy(update={"formats": (form,)})
    read = changed(read, "calling_lists", 1, customer_id_field="extra", attempt_caps=("us-fl",), daily_from=1)

    merged, waiting = merge(running, read)

    assert merged == changed(running, "calling_lists", 1, daily_from=1)
    assert sorted(waiting) == [
        "calling_lists 1: attempt_caps takes effect after a restart",
        "calling_lists 1: customer_id_field takes effect after a restart",
        "formats 1: fields takes effect after a restart",
    ]


def test_given_shares_and_lists_of_a_campaign_when_merged_then_they_are_taken_over():
    running = load_configuration(EXAMPLE)
    (first, second) = running.campaigns[0].lists
    for lists in [
        (first.model_copy(update={"share": 1, "active": False}), second),
        (second,),
        (),
        (second, first),
    ]:
        read = changed(running, "campaigns", 1, lists=lists)
        assert merge(running, read) == (read, [])
        assert merge(read, running) == (running, [])


def test_given_a_new_list_in_a_campaign_when_merged_then_it_waits_and_the_others_are_taken_over():
    running = load_configuration(EXAMPLE)
    new = running.calling_lists[0].model_copy(update={"dbid": 9, "name": "New List"})
    second = running.campaigns[0].lists[1]
    entries = (CampaignList(calling_list="New List", share=5), second.model_copy(update={"share": 95}))
    read = running.model_copy(update={"calling_lists": (*running.calling_lists, new)})

    merged, waiting = merge(running, changed(read, "campaigns", 1, lists=entries))

    assert merged == changed(running, "campaigns", 1, lists=entries[1:])
    assert waiting == [
        "calling_lists: DBID 9 is new, it is used after a restart",
        'campaigns 1: calling list "New List" is used after a restart',
    ]


def test_given_another_name_of_a_list_when_merged_then_its_campaign_keeps_it_by_the_old_one():
    running = load_configuration(EXAMPLE)
    first, second = running.campaigns[0].lists
    entry = first.model_copy(update={"calling_list": "Renamed", "share": 1})
    read = changed(running, "calling_lists", 1, name="Renamed")

    merged, waiting = merge(running, changed(read, "campaigns", 1, lists=(entry, second)))

    assert [(found.calling_list, found.share) for found in merged.campaigns[0].lists] == [
        ("Example List", 1),
        ("Gold List", second.share),
    ]
    assert waiting == ["calling_lists 1: name takes effect after a restart"]


def test_given_a_list_that_is_gone_when_merged_then_all_it_needs_stays_until_a_restart():
    running = load_configuration(EXAMPLE)
    read = running.model_copy(
        update={
            "calling_lists": (running.calling_lists[1].model_copy(update={"attempt_caps": ()}),),
            "treatments": tuple(found for found in running.treatments if found.dbid == 3),
            "filters": tuple(found for found in running.filters if found.name == "gold"),
            "attempt_caps": (),
            "stat_days": (),
            "stat_tables": (),
        }
    )
    read = changed(read, "campaigns", 1, lists=running.campaigns[0].lists[1:])

    merged, waiting = merge(running, read)

    gone = running.calling_lists[0]
    assert merged.calling_list(gone.name) == gone
    assert {found.name for found in merged.treatments_of(gone)} == set(gone.treatments)
    assert {found.name for found in merged.attempt_caps} == set(gone.attempt_caps)
    assert merged.filter(gone.filter) == running.filter(gone.filter)
    assert set(merged.stat_days) == set(running.stat_days)
    assert set(merged.stat_tables) == set(running.stat_tables)
    assert "calling_lists: DBID 1 is gone, it is used until a restart" in waiting
    assert 'filters: "others" is gone, it is used until a restart' in waiting
    assert 'stat_days: "Monday" is gone, it is used until a restart' in waiting


def test_given_the_sections_of_a_configuration_when_listed_then_a_reload_decides_about_each():
    assert sorted((*FIXED_SECTIONS, *LIVE_FIELDS, *PLAIN_SECTIONS)) == sorted(Configuration.model_fields)


def test_given_the_table_of_live_fields_when_compared_with_the_objects_then_every_name_exists():
    assert LIVE_FIELDS["campaign_groups"] <= set(CampaignGroup.model_fields)
    for section, names in LIVE_FIELDS.items():
        items = getattr(load_configuration(EXAMPLE), section)
        kind = type(items[0]) if isinstance(items, tuple) and items else type(items)
        assert (isinstance(items, tuple) and not items) or names <= set(kind.model_fields)

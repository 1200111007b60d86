"""Duplicates of an import: found by each key, handled by each rule, reported line by line."""

import csv
import threading

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocsd.config.objects import Format, FormatField, TableAccess
from ocsd.lists.duplicates import DuplicateRule
from ocsd.lists.importer import ImportOptions, import_csv
from ocsd.lists.keys import Action, Key
from ocsd.lists.tables import create_table
from ocsd.model.errors import ConfigError
from tests.ocsd.list_worlds import NOON_UTC, configuration

FIELDS = (
    FormatField(name="customer_no", length=20),
    FormatField(name="customer_name", length=40),
    FormatField(name="balance", type="float"),
)


@pytest.fixture
def config():
    base = configuration()
    own = base.calling_lists[0].model_copy(update={"customer_id_field": "customer_no"})
    return configuration(
        formats=(
            Format(dbid=201, name="Customers", fields=FIELDS),
            Format(dbid=202, name="Numbers", fields=(FormatField(name="customer_no", type="int"),)),
        ),
        table_accesses=(
            TableAccess(dbid=211, name="Customers", table="customers", format="Customers"),
            TableAccess(dbid=212, name="Others", table="others", format="Customers"),
            TableAccess(dbid=213, name="Numbers", table="numbers", format="Numbers"),
        ),
        filters=(),
        calling_lists=(
            own,
            own.model_copy(update={"dbid": 302, "name": "Others", "table_access": "Others"}),
            own.model_copy(update={"dbid": 303, "name": "Numbers", "table_access": "Numbers"}),
            own.model_copy(update={"dbid": 304, "name": "Nobody", "customer_id_field": ""}),
        ),
    )


class World:
    def __init__(self, conn, config, folder) -> None:
        self.conn, self.config, self.folder = conn, config, folder
        for calling_list in config.calling_lists[:3]:
            create_table(conn, config, calling_list)

    def run(self, text, action=Action.SKIP, key=Key.PHONE, *, to=0, also=(), **options):
        path = self.folder / "list.csv"
        path.write_text(text)
        rule = DuplicateRule(action, key, tuple(self.config.calling_lists[place] for place in also))
        return import_csv(
            self.conn, self.config, self.config.calling_lists[to], path,
            options=ImportOptions(duplicates=rule, **options), now=NOON_UTC,
        )  # fmt: skip

    def rows(self, columns="contact_info, customer_name", table="customers"):
        return self.conn.execute(f"SELECT {columns} FROM {table} ORDER BY record_id").fetchall()

    def last_digits(self):
        return [row[0][-1] for row in self.rows()]


@pytest.fixture
def world(database, config, tmp_path):
    with psycopg.connect(database, autocommit=True) as conn:
        yield World(conn, config, tmp_path)


def reported(path):
    with path.open(newline="", encoding="utf-8") as file:
        return [(int(row["line"]), row["reason"]) for row in csv.DictReader(file)]


def counts(result):
    return result.rows, result.imported, result.rejected, result.duplicates, result.updated


def test_given_known_and_repeated_numbers_when_skipped_then_they_are_left_out_and_told_line_by_line(world):
    world.run("phone\n2125550100\n", Action.KEEP)
    result = world.run(
        "phone,customer_name\n(212) 555-0100,Ada\n2125550101,Bob\n12,bad\n+12125550101,Bo\n2125550102,Cy\n"
    )
    assert counts(result) == (5, 2, 1, 2, 0)
    assert reported(result.duplicates_path) == [
        (2, "left out; same contact_info as record_id 1 of customers"),
        (5, "left out; same contact_info as line 3 of the file"),
    ]
    assert [line for line, _ in reported(result.rejected_path)] == [4]
    assert "(212) 555-0100,Ada" in result.duplicates_path.read_text()
    assert world.last_digits() == ["0", "1", "2"]


def test_given_no_rule_when_imported_then_everything_is_kept_and_an_old_report_goes(world):
    world.run("phone\n2125550100\n2125550100\n")
    result = world.run("phone\n2125550100\n2125550100\n", Action.KEEP)
    assert counts(result) == (2, 2, 0, 0, 0)
    assert result.duplicates_path is None
    assert not (world.folder / "list.csv.duplicates.csv").exists()


def test_given_refuse_when_there_is_one_duplicate_then_nothing_is_imported(world):
    result = world.run("phone\n2125550100\n2125550101\n2125550100\n", Action.REFUSE)
    assert (result.refused, counts(result)) == (True, (3, 0, 0, 1, 0))
    assert reported(result.duplicates_path) == [(4, "nothing is imported; same contact_info as line 2 of the file")]
    assert world.rows() == []
    again = world.run("phone\n2125550100\n2125550101\n", Action.REFUSE)
    assert (again.refused, again.imported) == (False, 2)


def test_given_customers_when_compared_by_customer_id_then_rows_without_one_are_nobodys_duplicate(world):
    text = 'phone,customer_no\n2125550100,A\n2125550101,A\n2125550102,\n2125550103,\n2125550104,""\n2125550105,""\n'
    assert counts(world.run(text, key=Key.CUSTOMER)) == (6, 5, 0, 1, 0)
    assert counts(world.run(text, key=Key.CUSTOMER)) == (6, 4, 0, 2, 0)


def test_given_both_parts_of_a_key_when_compared_then_only_rows_equal_in_both_are_duplicates(world):
    text = "phone,customer_no\n2125550100,A\n2125550101,A\n2125550100,B\n2125550100,A\n"
    result = world.run(text, key=Key.PHONE_AND_CUSTOMER)
    assert reported(result.duplicates_path) == [(5, "left out; same contact_info+customer_id as line 2 of the file")]


def test_given_chains_when_a_number_stands_twice_in_one_then_only_there_it_is_a_duplicate(world):
    text = "phone,chain_id,chain_n\n2125550100,1,0\n2125550101,1,1\n2125550100,1,2\n2125550102,1,3\n2125550100,2,0\n"
    result = world.run(text, key=Key.PHONE_AND_CHAIN)
    assert [line for line, _ in reported(result.duplicates_path)] == [4]
    assert world.rows("contact_info, chain_id, chain_n") == [
        ("+12125550100", 1, 0), ("+12125550101", 1, 1), ("+12125550102", 1, 3), ("+12125550100", 2, 0),
    ]  # fmt: skip


def test_given_a_chain_when_one_of_its_rows_is_left_out_then_the_others_stay_one_chain_in_their_order(world):
    world.run("phone\n2125550101\n", Action.KEEP)
    world.run("phone,chain_id,chain_n\n2125550100,70,0\n2125550101,70,1\n2125550102,70,2\n")
    assert world.rows("contact_info, chain_id, chain_n")[1:] == [("+12125550100", 70, 0), ("+12125550102", 70, 2)]
    world.run("phone\n2125550103\n")
    assert world.rows("chain_id")[-1][0] > 70


def test_given_other_lists_when_looked_at_too_then_their_people_are_duplicates_and_never_change(world):
    world.run("phone,customer_name\n2125550100,Ann\n", Action.KEEP, to=1)
    text = "phone,customer_name\n2125550100,Ada\n2125550101,Bob\n"

    assert world.run(text, also=(1,), dry_run=True).duplicates == 1
    assert world.run(text, dry_run=True).duplicates == 0
    result = world.run(text, Action.UPDATE, also=(1, 0))

    assert counts(result) == (2, 1, 0, 1, 0)
    assert reported(result.duplicates_path) == [(2, "left out; same contact_info as record_id 1 of others")]
    assert world.rows(table="others") == [("+12125550100", "Ann")]
    assert world.rows() == [("+12125550101", "Bob")]


def test_given_update_when_a_row_waits_then_it_takes_over_user_fields_and_window_and_nothing_else(world):
    world.run("phone,customer_name,balance,chain_id,chain_n\n2125550100,Ann,1,7,0\n2125550101,Bea,2,7,1\n", Action.KEEP)
    world.conn.execute("UPDATE customers SET attempt = 2, dial_sched_time = 99, record_type = 3")
    result = world.run(
        "phone,customer_name,daily_from,attempt,record_type,chain_id\n2125550100,Ada,3600,0,2,500\n2125550100,Late,7200,0,2,501\n"
        "2125550109,New,3600,0,2,502\n",
        Action.UPDATE,
    )
    assert counts(result) == (3, 1, 0, 2, 1)
    assert reported(result.duplicates_path) == [
        (2, "updated record_id 1; same contact_info as record_id 1 of customers"),
        (3, "left out; same contact_info as line 2 of the file"),
    ]
    assert world.rows(
        "contact_info, customer_name, balance, daily_from, daily_till, attempt, record_type, dial_sched_time, chain_id"
    ) == [
        ("+12125550100", "Ada", 1.0, 3600, 64800, 2, 3, 99, 7),
        ("+12125550101", "Bea", 2.0, 32400, 64800, 2, 3, 99, 7),
        ("+12125550109", "New", None, 3600, 64800, 0, 2, None, 502),
    ]


def test_given_update_when_an_export_comes_back_changed_then_its_record_ids_do_not_get_in_the_way(world):
    world.run("phone,customer_name\n2125550100,Ann\n2125550101,Bea\n", Action.KEEP)
    result = world.run(
        "record_id,chain_id,phone,customer_name\n1,1,2125550100,Ada\n2,2,2125550101,Bo\n2,9,2125550102,Cy\n",
        Action.UPDATE,
    )
    assert counts(result) == (3, 0, 1, 2, 2)
    assert [line for line, _ in reported(result.rejected_path)] == [4]
    assert world.rows() == [("+12125550100", "Ada"), ("+12125550101", "Bo")]


def test_given_update_when_a_row_is_finished_or_held_by_a_daemon_then_it_stays_as_it_is(world):
    world.run("phone,chain_id,chain_n\n" + "".join(f"212555010{n},{n + 1},0\n" for n in range(5)), Action.KEEP)
    world.conn.execute("UPDATE customers SET record_status = 3 WHERE record_id = 1")
    world.conn.execute("UPDATE customers SET record_status = 2 WHERE record_id = 2")
    # A row that was added to a chain while a daemon held it.
    world.conn.execute("INSERT INTO ocsd.instance (owner, node) VALUES ('me', 'here')")
    world.conn.execute(
        "INSERT INTO ocsd.claim (table_name, chain_id, list_dbid, campaign_group_dbid, owner, batch, lease_until)"
        " VALUES ('customers', 3, 301, 501, 'me', gen_random_uuid(), now())"
    )
    result = world.run("phone,customer_name\n" + "".join(f"212555010{n},New\n" for n in range(5)), Action.UPDATE)
    assert counts(result) == (5, 0, 0, 5, 2)
    assert [reason.split(";")[0] for _, reason in reported(result.duplicates_path)] == [
        *["left as it is: finished, or on its way to be dialed"] * 3, "updated record_id 4", "updated record_id 5",
    ]  # fmt: skip
    assert [name for _, name in world.rows()] == [None, None, None, "New", "New"]


def test_given_a_daemon_that_is_just_taking_a_row_when_it_would_be_updated_then_neither_waits_for_the_other(
    world, database
):
    world.run("phone\n2125550100\n2125550101\n", Action.KEEP)
    with psycopg.connect(database) as claimer:
        claimer.execute("SELECT FROM customers WHERE record_id = 1 FOR UPDATE")
        done = threading.Event()
        found = []

        def update():
            found.append(world.run("phone,customer_name\n2125550100,A\n2125550101,B\n", Action.UPDATE))
            done.set()

        thread = threading.Thread(target=update)
        thread.start()
        assert done.wait(60.0)  # only catches a hang
        thread.join()
    assert counts(found[0]) == (2, 0, 0, 2, 1)
    assert world.rows() == [("+12125550100", None), ("+12125550101", "B")]


def test_given_update_when_the_file_has_half_a_window_then_the_other_half_is_the_lists_and_it_opens(world):
    world.run("phone,daily_from,daily_till\n2125550100,3600,7200\n", Action.KEEP)
    assert world.run("phone,daily_from\n2125550100,7200\n", Action.UPDATE).updated == 1
    assert world.rows("daily_from, daily_till") == [(7200, 64800)]


def test_given_a_key_of_several_rows_when_updated_then_all_of_them_that_wait_take_it_over(world):
    world.run("phone,customer_no\n2125550100,A\n2125550101,A\n2125550102,A\n", Action.KEEP)
    world.conn.execute("UPDATE customers SET record_status = 5 WHERE record_id = 2")
    result = world.run("phone,customer_no,balance\n2125550109,A,5\n", Action.UPDATE, Key.CUSTOMER)
    assert reported(result.duplicates_path) == [
        (2, "updated record_id 1, 3; same customer_id as record_id 1 of customers")
    ]
    assert world.rows("contact_info, balance") == [
        ("+12125550100", 5.0), ("+12125550101", None), ("+12125550102", 5.0),
    ]  # fmt: skip


@pytest.mark.parametrize("action", list(Action))
def test_given_a_dry_run_when_it_ends_then_it_says_what_would_be_and_the_list_is_untouched(world, action):
    world.run("phone,customer_name\n2125550100,Ann\n", Action.KEEP)
    text = "phone,customer_name\n2125550100,Ada\n2125550101,Bob\nx,bad\n2125550102,Cy\n"
    before = world.rows("*")

    told = world.run(text, action, dry_run=True)
    assert world.rows("*") == before
    assert world.conn.execute("SELECT last_value FROM customers_record_id_seq").fetchone() == (1,)
    done = world.run(text, action)

    assert counts(told) == counts(done)
    assert told.refused == done.refused


@pytest.mark.parametrize(
    ("text", "settings", "words"),
    [
        ("phone\n1\n", {"key": Key.CUSTOMER}, "column 'customer_no' is not in the file"),
        ("phone\n1\n", {"key": Key.CUSTOMER, "to": 3}, "has no customer_id_field"),
        ("phone\n1\n", {"key": Key.PHONE_AND_CHAIN}, "'chain_id' is not in the file"),
        ("phone,chain_id\n1,1\n", {"key": Key.PHONE_AND_CHAIN, "also": (1,)}, "have nothing to do with this list"),
        ("phone\n1\n", {"action": Action.UPDATE}, "neither user fields nor a daily window"),
        ("phone,customer_no\n1,1\n", {"key": Key.CUSTOMER, "also": (2,)}, "'Numbers' has customer_no integer"),
    ],
)
def test_given_a_rule_that_does_not_fit_when_imported_then_it_is_refused_before_anything_is_read(
    world, text, settings, words
):
    with pytest.raises(ConfigError, match="duplicates") as caught:
        world.run(text, **settings)
    assert words in str(caught.value)


# -- against a plain model -------------------------------------------------------------------------------------------

PEOPLE = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["", "A", "B"])), max_size=8)


@settings(
    max_examples=40, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(there=PEOPLE, file=PEOPLE, key=st.sampled_from([Key.PHONE, Key.CUSTOMER, Key.PHONE_AND_CUSTOMER]))
def test_given_any_list_and_file_when_duplicates_are_skipped_then_each_key_is_there_once_and_nothing_is_lost(
    world, there, file, key
):
    world.conn.execute("TRUNCATE customers RESTART IDENTITY")
    header = "phone,customer_no\n"
    world.run(header + "".join(f"212555010{digit},{customer}\n" for digit, customer in there), Action.KEEP)
    result = world.run(header + "".join(f"212555010{digit},{customer}\n" for digit, customer in file), key=key)

    def key_of(person):
        parts = {Key.PHONE: (person[0],), Key.CUSTOMER: (person[1],)}.get(key, person)
        return None if "" in parts else parts

    seen = {key_of(person) for person in there}
    expected = list(there)
    for person in file:
        if key_of(person) is None or key_of(person) not in seen:
            expected.append(person)
        seen.add(key_of(person))
    found = [(int(phone[-1]), customer or "") for phone, customer in world.rows("contact_info, customer_no")]
    assert found == expected
    assert result.imported + result.duplicates == len(file)

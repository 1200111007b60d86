"""The indices of the in-memory tables: whatever happens to rows, they say what a look at every row would."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ocsd.lists.memory import MemoryDatabase
from ocsd.model.enums import RecordStatus
from tests.ocsd.result_worlds import LIST, result_configuration

PHONES = ("+12125550001", "+12125550002", "+12125550003")
CUSTOMERS = (None, "C1", "C2", "7")

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from(PHONES), st.sampled_from(CUSTOMERS)),
        st.tuples(st.just("phone"), st.integers(0, 5), st.sampled_from(PHONES)),
        st.tuples(st.just("customer"), st.integers(0, 5), st.sampled_from(CUSTOMERS)),
        st.tuples(st.just("move"), st.integers(0, 5), st.integers(1, 3)),
        st.tuples(st.just("status"), st.integers(0, 5), st.sampled_from(list(RecordStatus)[:5])),
        st.tuples(st.just("delete"), st.integers(0, 5), st.none()),
        st.tuples(st.just("ask"), st.none(), st.none()),
    ),
    max_size=25,
)


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_given_any_changes_of_rows_when_asked_by_number_or_customer_then_it_is_what_a_scan_finds(steps):
    database = MemoryDatabase(result_configuration())
    name = database.table_name(LIST)
    table = database.table(name)
    for kind, first, second in [*steps, ("ask", None, None)]:
        ids = sorted(table.rows)
        if kind == "add":
            database.add_record(LIST, contact_info=first, customer_no=second)
        elif kind == "ask":
            for phone in PHONES:
                scanned = [key for key, row in sorted(table.rows.items()) if row.record.contact_info == phone]
                assert table.with_phone(phone) == scanned
            for customer in CUSTOMERS[1:]:
                scanned = [
                    key
                    for key, row in sorted(table.rows.items())
                    if row.record.user_fields["customer_no"] == customer
                ]  # fmt: skip
                assert table.with_value("customer_no", customer) == scanned
        elif ids:
            record_id = ids[first % len(ids)]
            if kind == "phone":
                database.update_row(name, record_id, contact_info=second)
            elif kind == "customer":
                database.update_row(name, record_id, customer_no=second)
            elif kind == "move":
                database.update_row(name, record_id, chain_id=1000 + second, chain_n=record_id)
            elif kind == "status":
                database.set_status(name, record_id, second)
            else:
                database.delete_row(name, record_id)

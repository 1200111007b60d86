"""Treatments in a configuration: what may be written, and one sentence for each fault."""

from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsd.config.check_treatments import is_http_url
from ocsd.config.loader import load_configuration
from ocsd.config.sqltext import statement_problem
from ocsd.model.enums import CallAction, CallResult, RecordAction
from ocsd.model.errors import ConfigError
from tests.ocsd.test_config_loader import VALID, edited, problems_of, problems_or_none, read

BASE = VALID.replace('{ name = "customer_name", send', '{ name = "outcome" }, { name = "customer_name", send', 1)
HEAD = '[[treatments]]\ndbid = 5\nname = "t"\n'
T = 'a.toml: treatments[0].{} (of "t"): {}.'
L = 'a.toml: calling_lists[0].{} (of "L"): {}.'


def with_treatment(lines: str, in_list: str = 'treatments = ["t"]') -> str:
    assert BASE.count('time_zone = "Eastern"') == 1
    return BASE.replace('time_zone = "Eastern"', in_list, 1) + HEAD + lines + "\n"


# --- what may be written ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "values"),
    [
        (
            'call_result = "busy"\nrecord_action = "redial"\ncycle_attempts = 3\ninterval = "0:01:30"',
            {"call_result": CallResult.BUSY, "record_action": RecordAction.REDIAL, "interval_min": 90},
        ),
        (
            "call_result = 7\nrecord_action = 4\ninterval_min = 5\nincrement_min = 2",
            {"call_result": CallResult.NO_ANSWER, "record_action": RecordAction.RETRY_IN, "interval_min": 5},
        ),
        (
            'call_result = "Busy"\nrecord_action = "Next_In_Chain_After"\ncycle_attempts = 1\ninterval = "12:7:5"',
            {"record_action": RecordAction.NEXT_IN_CHAIN_AFTER, "interval_min": (12 * 24 + 7) * 60 + 5},
        ),
        (
            'disposition = "not in"\nrecord_action = "retry_at_date"\ndate = 2026-12-24T10:00:00',
            {"disposition": "not in", "call_result": None, "date": datetime(2026, 12, 24, 10)},  # noqa: DTZ001
        ),
        (
            'disposition = "x"\ncall_result = "answer"\nrecord_action = "next_in_chain_at_date"\ncycle_attempts = 1\n'
            "date = 2026-12-24 10:00:00Z",
            {"call_result": CallResult.ANSWER, "date": datetime(2026, 12, 24, 10, tzinfo=UTC)},
        ),
        (
            'call_result = 6\nrecord_action = "retry_at_date"\ndate = "2026-12-24T10:00:00+00:00"',
            {"date": datetime(2026, 12, 24, 10, tzinfo=UTC)},
        ),
        (
            'call_result = "answering_machine"\ncall_action = "play_message"\nmessage = "drop"',
            {"record_action": RecordAction.UPDATE_RECORD, "call_action": CallAction.PLAY_MESSAGE},
        ),
        (
            'call_result = "fax"\nrecord_action = "none"\ncall_action = "transfer"\ndestination = "*7#01"',
            {"record_action": RecordAction.NONE, "call_action": CallAction.TRANSFER, "destination": "*7#01"},
        ),
        (
            'call_result = 33\ncall_action = "route"\ndestination = "sip:ivr@127.0.0.1:5070"',
            {"call_action": CallAction.ROUTE},
        ),
        ('call_result = 47\nrecord_action = "assign_to_group"', {"call_result": CallResult.AGENT_CALLBACK_ERROR}),
        (
            'call_result = 48\nrecord_action = "mark_as_agent_error"',
            {"record_action": RecordAction.MARK_AS_AGENT_ERROR},
        ),
        ('call_result = 51\nrecord_action = "send_http"\nurl = "http://127.0.0.1/x"', {"url": "http://127.0.0.1/x"}),
        ('call_result = 6\nrecord_action = "execute_sql"\nsql = "SELECT f(%(outcome)s)"', {"number": 1}),
    ],
)
def test_given_an_allowed_treatment_when_read_then_it_holds_what_was_written(lines, values):
    in_list = 'treatments = ["t"]\ndisposition_field = "outcome"'

    found = read(with_treatment(lines, in_list)).treatments[0]

    assert {name: getattr(found, name) for name in values} == values


def test_given_an_address_by_environment_when_read_then_it_is_filled_in_and_not_shown():
    text = with_treatment('call_result = 6\nrecord_action = "send_http"\nurl = "https://crm/x?token=${TOKEN}"')

    found = read(text, environ={"TOKEN": "hush"}).treatments[0]

    assert found.url == "https://crm/x?token=hush"
    assert "hush" not in repr(found)


# --- one fault, one sentence ------------------------------------------------------------------------------------

REDIAL = 'call_result = "busy"\nrecord_action = "redial"\ncycle_attempts = 1\n'
NO_FIELDS = "does not belong to {}; of these fields it takes: none"
ANSWERED = '"answer" (33), "answering_machine" (9), "fax" (17), "silence" (32), "pager" (39)'
MISSED = '"agent_callback_error" (47), "group_callback_error" (48)'
FAULTS = [
    # by themselves
    ('record_action = "update_record"', "call_result", "is required, unless a disposition is given"),
    (
        'call_result = 47\ndisposition = "x"\nrecord_action = "assign_to_group"', "disposition",
        f"does not count for {MISSED}: it tells of an earlier call",
    ),
    ('disposition = " x"', "disposition", "must not begin or end with blanks, got ' x'"),
    ('call_result = 6\nrecord_action = "none"', "record_action", "is required, unless a call_action is given"),
    ("call_result = 0", "call_result", '"ok" (0) is not treated: it says nothing about the call'),
    ('call_result = "unknown"', "call_result", '"unknown" (28) is not treated: it says that there is no result yet'),
    (
        'call_result = "stale"', "call_result",
        '"stale" (46) is not treated: a stale record is left as it is, since it may have been called',
    ),
    (
        "call_result = 48", "record_action",
        '"group_callback_error" (48) accepts only "assign_to_group" (9), "mark_as_agent_error" (10), "redial" (3), '
        '"retry_in" (4), "retry_at_date" (5), got "update_record" (1)',
    ),
    (
        'call_result = 6\nrecord_action = "assign_to_group"', "record_action",
        f'"assign_to_group" (9) is for missed callbacks only: {MISSED}',
    ),
    (
        'disposition = "x"\nrecord_action = "assign_to_group"', "record_action",
        f'"assign_to_group" (9) is for missed callbacks only: {MISSED}',
    ),
    (
        'call_result = 51\nrecord_action = "reschedule"', "record_action",
        'after "do_not_call" (51) nobody is called again; it accepts "none" (0), "update_record" (1), "update_all" '
        '(2), "mark_as_agent_error" (10), "execute_sql" (12), "send_http" (13)',
    ),
    (
        'call_result = "cancel_record"\nrecord_action = "retry_in"\ninterval_min = 1', "record_action",
        'after "cancel_record" (52) nobody is called again; it accepts "none" (0), "update_record" (1), "update_all" '
        '(2), "mark_as_agent_error" (10), "execute_sql" (12), "send_http" (13)',
    ),
    # fields of the actions
    (
        'call_result = 6\nrecord_action = "redial"', "cycle_attempts",
        'is required for "redial" (3): how many times it may be applied, at least 1',
    ),
    (
        'call_result = 6\nrecord_action = "next_in_chain_at_date"\ndate = 2026-12-24T10:00:00', "cycle_attempts",
        'is required for "next_in_chain_at_date" (8): how many times it may be applied, at least 1',
    ),
    (
        'call_result = 6\nrecord_action = "retry_in"', "interval_min",
        'is required for "retry_in" (4): how long it waits, at least 1 minute',
    ),
    (
        'call_result = 6\nrecord_action = "next_in_chain_after"\ncycle_attempts = 1\ninterval = "0:0:0"', "interval",
        'is required for "next_in_chain_after" (7): how long it waits, at least 1 minute',
    ),
    (
        'call_result = 6\nrecord_action = "retry_at_date"', "date",
        'is required for "retry_at_date" (5): the date and time',
    ),
    ('call_result = 6\nrecord_action = "execute_sql"', "sql", 'is required for "execute_sql" (12): the statement'),
    ('call_result = 6\nrecord_action = "send_http"', "url", 'is required for "send_http" (13): where the request goes'),
    (
        'call_result = 6\nrecord_action = "retry_in"\ninterval_min = 1\ncycle_attempts = 2', "cycle_attempts",
        'does not belong to "retry_in" (4); of these fields it takes: interval_min, increment_min',
    ),
    (
        REDIAL + "date = 2026-12-24T10:00:00", "date",
        'does not belong to "redial" (3); of these fields it takes: cycle_attempts, interval_min, increment_min',
    ),
    (
        'call_result = 6\nrecord_action = "retry_at_date"\ndate = 2026-12-24T10:00:00\ninterval = "1:0:0"', "interval",
        'does not belong to "retry_at_date" (5); of these fields it takes: date',
    ),
    *(
        (f'call_result = 6\nrecord_action = "{action.name.lower()}"\n{line}', line.split(" ")[0],
         NO_FIELDS.format(f'"{action.name.lower()}" ({int(action)})'))
        for action, line in product(
            (RecordAction.UPDATE_RECORD, RecordAction.UPDATE_ALL, RecordAction.MARK_AS_AGENT_ERROR,
             RecordAction.RESCHEDULE),
            ("cycle_attempts = 1", "interval_min = 1", "increment_min = 1", "date = 2026-12-24T10:00:00",
             'sql = "SELECT 1"', 'url = "http://x/"'),
        )
    ),
    (
        'call_result = 6\nrecord_action = "retry_at_date"\ndate = 2038-01-01T00:00:00', "date",
        "must lie in the years 2000 to 2037, got 2038-01-01T00:00:00",
    ),
    (
        'call_result = 6\nrecord_action = "execute_sql"\nsql = "DELETE FROM a; DELETE FROM b"', "sql",
        "must be one statement, found more than one",
    ),
    *(
        (f'call_result = 6\nrecord_action = "send_http"\nurl = "{url}"', "url",
         "must be an http or https address, for example https://crm.example.net/outcomes")
        for url in ("ftp://crm/x", "crm.example.net/x", "http://", "https://crm:99999/", "https://c rm/", "http://crm:0/")
    ),
    # calls
    (
        'call_result = 9\ncall_action = "send_fax"', "call_action",
        '"send_fax" (7) is not supported by this version; supported are "connect" (1), "drop" (2), "mute_transfer" '
        '(3), "transfer" (4), "route" (5), "play_message" (6)',
    ),
    (
        'call_result = 9\ncall_action = "send_email"', "call_action",
        '"send_email" (9) is not supported by this version; supported are "connect" (1), "drop" (2), "mute_transfer" '
        '(3), "transfer" (4), "route" (5), "play_message" (6)',
    ),
    (
        'disposition = "x"\ncall_action = "drop"', "call_action",
        "is not possible for a disposition, which is set when the call is over",
    ),
    (
        'call_result = 6\ncall_action = "drop"', "call_action",
        f'is not possible for "busy" (6), only for answered calls: {ANSWERED}',
    ),
    *(
        (f'call_result = 9\ncall_action = "{name}"', "destination",
         f'is required for "{name}" ({number}): a SIP URI, or digits to dial')
        for name, number in (("mute_transfer", 3), ("transfer", 4), ("route", 5))
    ),
    (
        'call_result = 9\ncall_action = "route"\ndestination = "the IVR"', "destination",
        "must be a SIP URI (sip:user@host or sip:user@host:port) or at most 30 digits, got 'the IVR'",
    ),
    (
        'call_result = 9\ncall_action = "drop"\ndestination = "12"', "destination",
        'belongs to call_action "mute_transfer" (3), "transfer" (4), "route" (5) only',
    ),
    ('call_result = 9\nmessage = "drop"', "message", 'belongs to call_action "play_message" (6) only'),
    (
        'call_result = 9\ncall_action = "play_message"', "message",
        'is required for "play_message" (6): the name of a prompt',
    ),
    *(
        (f'call_result = 9\ncall_action = "play_message"\nmessage = "{name}"', "message",
         "must be the name of a .ulaw or .alaw or .wav file in the prompt folder, "
         f"or \"drop\" or \"tone\", got '{name}'")
        for name in ("hello.mp3", "../x.wav", "/x.wav", "ringback")
    ),
    # spelling
    (
        'call_result = 6\nrecord_action = "retry_in"\ninterval = "90"', "interval",
        'must be "days:hours:minutes" with hours up to 23 and minutes up to 59, for example "0:01:30", or interval_min '
        "a number of minutes, got '90'",
    ),
    (
        'call_result = 6\nrecord_action = "retry_in"\ninterval = "0:24:00"', "interval",
        'must be "days:hours:minutes" with hours up to 23 and minutes up to 59, for example "0:01:30", or interval_min '
        "a number of minutes, got '0:24:00'",
    ),
    (
        'call_result = 6\nrecord_action = "retry_in"\ninterval = "0:01:00"\ninterval_min = 60', "interval",
        "may not stand beside interval_min, which says the same in minutes",
    ),
    *(
        (f'call_result = 6\nrecord_action = "retry_at_date"\ndate = {date}', "date",
         "must be a date and time, 2026-12-24T10:00:00 (in the record's time zone) or with an offset, "
         f"2026-12-24T10:00:00Z, got '{shown}'")
        for date, shown in (
            ("2026-12-24", "2026-12-24"), ('"2026-12-24"', "2026-12-24"), ('"1700000000"', "1700000000"),
            ("1700000000", "1700000000"), ('"tomorrow"', "tomorrow"), ('"2026-13-01T10:00:00"', "2026-13-01T10:00:00"),
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "key", "sentence"), FAULTS, ids=[f"{fault[1]}-{fault[0][-30:]}" for fault in FAULTS])
def test_given_one_fault_when_read_then_one_sentence_names_it(lines, key, sentence):
    in_list = 'treatments = ["t"]\ndisposition_field = "outcome"'

    assert problems_of(with_treatment(lines, in_list)) == [T.format(key, sentence)]


def test_given_an_unknown_result_when_read_then_names_and_numbers_are_offered():
    (problem,) = problems_of(with_treatment('call_result = "engaged"'))

    assert problem.startswith('a.toml: treatments[0].call_result (of "t"): must be one of "ok" (0), ')
    assert '"busy" (6), "no_answer" (7), ' in problem
    assert problem.endswith("got 'engaged'.")


def test_given_a_wrong_address_with_a_secret_when_read_then_the_secret_is_not_in_the_message():
    for url in ('"ftp://user:hush@crm/"', '["https://user:hush@crm/"]', '"https://crm:x/hush"'):
        text = with_treatment(f'call_result = 6\nrecord_action = "send_http"\nurl = {url}')
        assert "hush" not in "\n".join(problems_of(text))


def test_given_all_pairs_of_result_and_action_when_read_then_only_missed_callbacks_share_assign_to_group():
    fields = {
        RecordAction.REDIAL: "cycle_attempts = 1",
        RecordAction.RETRY_IN: "interval_min = 1",
        RecordAction.RETRY_AT_DATE: "date = 2026-12-24T10:00:00",
        RecordAction.NEXT_IN_CHAIN: "cycle_attempts = 1",
        RecordAction.NEXT_IN_CHAIN_AFTER: "cycle_attempts = 1\ninterval_min = 1",
        RecordAction.NEXT_IN_CHAIN_AT_DATE: "cycle_attempts = 1\ndate = 2026-12-24T10:00:00",
        RecordAction.EXECUTE_SQL: 'sql = "SELECT 1"',
        RecordAction.SEND_HTTP: 'url = "http://crm/"',
    }

    def allowed(result: CallResult, action: RecordAction) -> bool:
        lines = f"call_result = {int(result)}\nrecord_action = {int(action)}\n{fields.get(action, '')}"
        return not problems_or_none(with_treatment(lines))

    actions = set(RecordAction) - {RecordAction.NONE}
    for result in CallResult:
        found = {action for action in actions if allowed(result, action)}
        match result:
            case CallResult.OK | CallResult.UNKNOWN | CallResult.STALE:
                assert found == set()
            case CallResult.AGENT_CALLBACK_ERROR | CallResult.GROUP_CALLBACK_ERROR:
                assert {int(action) for action in found} == {3, 4, 5, 9, 10}
            case CallResult.DO_NOT_CALL | CallResult.CANCEL_RECORD:
                assert {int(action) for action in found} == {1, 2, 10, 12, 13}
            case _:
                assert found == actions - {RecordAction.ASSIGN_TO_GROUP}


# --- in a list --------------------------------------------------------------------------------------------------


def sequence(*lines: str, in_list: str = "") -> str:
    names = ", ".join(f'"t{n}"' for n in range(len(lines)))
    text = BASE.replace('time_zone = "Eastern"', f"treatments = [{names}]\n{in_list}", 1)
    return text + "".join(f'[[treatments]]\ndbid = {n + 1}\nname = "t{n}"\n{each}\n' for n, each in enumerate(lines))


LIST_FAULTS = [
    (
        with_treatment(REDIAL, 'treatments = ["t", "u"]'),
        "treatments[1]", 'no [[treatments]] is called "u"; defined are: "t"',
    ),
    (with_treatment(REDIAL, 'treatments = ["t", "t"]'), "treatments", '"t" stands there 2 times; once is enough'),
    (
        with_treatment('disposition = "x"'),
        "disposition_field", 'is required: treatment "t" goes by the disposition',
    ),
    *(
        (with_treatment(REDIAL, f'{key} = "nothing"'), key,
         'format "F" has no field "nothing"; its fields are: outcome, customer_name')
        for key in ("disposition_field", "customer_id_field", "subject_field")
    ),
    (
        with_treatment(REDIAL, 'customer_id_field = "record_id"'), "customer_id_field",
        'format "F" has no field "record_id"; its fields are: outcome, customer_name',
    ),
    (
        sequence(REDIAL, REDIAL),
        "treatments",
        '"t0" and "t1" are both number 1 of the sequence for "busy" (6); the numbers give the order, so each needs its '
        "own",
    ),
    (
        sequence("disposition = 'x'\nnumber = 3", "disposition = 'x'\ncall_result = 6\nnumber = 3",
                 in_list='disposition_field = "outcome"'),
        "treatments",
        '"t0" and "t1" are both number 3 of the sequence for disposition "x"; the numbers give the order, so each '
        "needs its own",
    ),
    (
        sequence("call_result = 6\nnumber = 2", REDIAL + "number = 4"),
        "treatments",
        '"t1" would never be applied: before it in the sequence for "busy" (6) stands "t0", which ends the chain',
    ),
    (
        with_treatment(
            'call_result = 6\nrecord_action = "retry_in"\ninterval_min = 1\nincrement_min = 60000',
            'treatments = ["t"]\nmax_attempts = 11',
        ),
        "treatments",
        'treatment "t" would wait 416 days when applied for the last of 11 times; 366 days are the most',
    ),
    (
        with_treatment(
            'call_result = 6\nrecord_action = "redial"\ncycle_attempts = 3\n'
            'interval = "300:00:00"\nincrement_min = 60000'
        ),
        "treatments",
        'treatment "t" would wait 383 days when applied for the last of 3 times; 366 days are the most',
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key", "sentence"), LIST_FAULTS, ids=[fault[2][:50] for fault in LIST_FAULTS])
def test_given_one_fault_in_a_list_when_read_then_one_sentence_names_it(text, key, sentence):
    assert problems_of(text) == [L.format(key, sentence)]


def test_given_a_statement_with_a_column_of_another_format_when_read_then_the_list_is_named():
    (problem,) = problems_of(
        with_treatment('call_result = 6\nrecord_action = "execute_sql"\nsql = "SELECT f(%(balance)s)"')
    )

    assert problem.startswith(
        L.format(
            "treatments", 'sql of treatment "t": %(balance)s: the record has no column "balance"; it has: agent_id'
        )[:-1]
    )


@pytest.mark.parametrize(
    "text",
    [
        # The same number for different results, or with and without a disposition.
        sequence(REDIAL, REDIAL.replace("busy", "no_answer")),
        sequence(REDIAL, REDIAL + 'disposition = "x"', in_list='disposition_field = "outcome"'),
        sequence(
            "disposition = 'x'\ncall_result = 6", "disposition = 'x'\ncall_result = 7",
            in_list='disposition_field = "outcome"',
        ),
        # Once in the middle of its sequence: its increments do not count.
        sequence('call_result = 6\nrecord_action = 4\ninterval_min = 1\nincrement_min = 500000', REDIAL + "number = 2"),
        # What ends the chain stands last; another list may use one treatment alone.
        sequence(REDIAL, "call_result = 6\nnumber = 9"),
    ],
)  # fmt: skip
def test_given_sequences_in_order_when_read_then_there_is_no_problem(text):
    assert len(read(text).treatments) == 2


def test_given_a_list_whose_format_is_wrong_when_read_then_its_columns_are_not_judged():
    text = edited('table_access = "A"', 'table_access = "B"\nsubject_field = "nothing"')

    assert problems_of(text) == [
        'a.toml: calling_lists[0].table_access (of "L"): no [[table_accesses]] is called "B"; defined are: "A".'
    ]


# --- announcements ----------------------------------------------------------------------------------------------

PLAY = 'call_result = 9\ncall_action = "play_message"\nmessage = "hello.ulaw"'


def write(folder: Path, telephony: str) -> Path:
    file = folder / "ocsd.toml"
    file.write_text(with_treatment(PLAY) + f"[telephony]\n{telephony}\n")
    return file


def test_given_a_message_when_its_file_can_be_played_then_there_is_no_problem_and_the_folder_counts_from_the_file(
    tmp_path,
):
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "hello.ulaw").write_bytes(b"\x7f" * 800)

    found = load_configuration(write(tmp_path, 'prompt_dir = "prompts"'), {})

    assert found.telephony.prompt_dir == str(tmp_path / "prompts")


@pytest.mark.parametrize(
    ("telephony", "content", "words"),
    [
        ("", None, "and no folder is set (telephony.prompt_dir)."),
        ('prompt_dir = "prompts"', None, "No such file"),
        ('prompt_dir = "prompts"', b"", "has 0 bytes"),
        ('prompt_dir = "prompts"\nembedded = false', None, "No such file"),
    ],
)
def test_given_a_message_when_it_cannot_be_played_then_the_treatment_is_named(tmp_path, telephony, content, words):
    (tmp_path / "prompts").mkdir()
    if content is not None:
        (tmp_path / "prompts" / "hello.ulaw").write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        load_configuration(write(tmp_path, telephony), {})

    (problem,) = caught.value.problems
    assert problem.startswith('treatments.message (of "t"): ')
    assert words in problem


@pytest.mark.parametrize("telephony", ["embedded = false", 'embedded = false\nprompt_dir = "/nowhere/here"'])
def test_given_a_media_server_elsewhere_when_its_folder_is_not_here_then_messages_are_not_judged(tmp_path, telephony):
    assert load_configuration(write(tmp_path, telephony), {}).treatments[0].message == "hello.ulaw"


# --- statements and addresses -----------------------------------------------------------------------------------

COLUMNS = frozenset({"outcome", "record_id"})


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE crm SET n = n + 1 WHERE id = %(record_id)s",
        "  -- a note; and one more\n insert into a values (';', 'it''s', E'\\'; ', \"a;b\", $$ ; $$, $x$ $$; $x$);  ",
        "/* one; /* two */ */ WITH x AS (DELETE FROM a RETURNING *) SELECT count(*) FROM x",
        "CALL note(%(outcome)s, 10 %% 3, '100 %%')",
        "SELECT 'a' ; -- the end",
        "SELECT a$b, x.\"y\" FROM t WHERE e'x\\\\' = 'y'",
        "merge into a using b on a.i = b.i when matched then do nothing",
    ],
)
def test_given_one_statement_when_checked_then_it_is_accepted(text):
    assert statement_problem(text, COLUMNS) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        (" ; -- nothing", "is empty"),
        ("SELECT 1; SELECT 2", "found more than one"),
        ("SELECT 1; /* x */ ; %%", "found more than one"),
        ("COMMIT", "must begin with INSERT, UPDATE, DELETE, MERGE, SELECT, WITH or CALL"),
        ("; drop table a", "must begin with"),
        ("'x'", "must begin with"),
        ("SELECT 'x", "quotation mark that is not closed"),
        ("SELECT 'x''", "quotation mark that is not closed"),
        ("SELECT E'x\\'", "quotation mark that is not closed"),
        ('SELECT "x', "quotation mark that is not closed"),
        ("SELECT $a$ x $b$", "$a$ that is not closed"),
        ("SELECT 1 /* /* */", "/* that is not closed"),
        ("SELECT %s", "% that is no placeholder"),
        ("SELECT 10 % 3", "% that is no placeholder"),
        ("SELECT %(outcome)d", "% that is no placeholder"),
        ("SELECT '%(outcome)s'", "placeholder inside quotation marks or a comment"),
        ("SELECT 1 -- 100%", "% inside quotation marks or a comment"),
        ("SELECT $$5%$$", "% inside quotation marks or a comment"),
        ("SELECT %(other)s", '%(other)s: the record has no column "other"; it has: outcome, record_id'),
    ],
)
def test_given_anything_else_when_checked_then_the_words_say_what_is_wrong(text, words):
    assert words in (statement_problem(text, COLUMNS) or "nothing")


@given(st.text(alphabet="SELECT ;'\"$a-*/%()s\\\n", max_size=40))
def test_given_any_text_when_checked_then_it_ends_and_two_statements_never_pass(text):
    statement_problem(text)

    if statement_problem(f"SELECT 1 {text}") is None:
        assert statement_problem(f"SELECT 1 {text}\n; SELECT 2") is not None


@given(st.text(max_size=60))
def test_given_any_text_when_it_counts_as_an_address_then_it_has_scheme_and_host(text):
    assert not is_http_url(text) or text.lower().startswith(("http://", "https://"))
    assert not is_http_url(f"http://crm/{text}") or text.isascii()

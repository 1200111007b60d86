"""The demo's report against made-up journals and truths."""

import pytest

from ocsd.demo import report, view
from ocsd.demo.report import EXPECTED, AttemptRow
from ocsd.model.enums import CallResult
from telephony.simworld.idtone import agent_code, customer_code
from telephony.simworld.plan import NumberClass, decided_by

NUMBER = "12125552000"


def attempt(result, number=NUMBER, attempt_id=1, connected=False, agent_id=None, finished=True):
    return AttemptRow(attempt_id, f"+{number}", result, connected, finished, agent_id)


def truth(number_class, number=NUMBER, **more):
    by = decided_by(NumberClass(number_class)) if number_class in set(NumberClass) else "signalling"
    entry = {"number": f"+{number}", "canonical": number, "class": number_class, "decided_by": by}
    return (
        entry
        | {"talk_began_at_s": None, "ended_at_s": 0.0, "heard_codes": {}, "own_code": customer_code(number)}
        | more
    )


def test_given_every_class_of_number_when_judged_then_some_result_is_right():
    assert set(EXPECTED) == set(NumberClass)
    for number_class, results in EXPECTED.items():
        for result in results:
            matched = report.match_truth([attempt(int(result))], [truth(number_class)])
            assert matched["by_class"] == {str(number_class): 1.0}


@pytest.mark.parametrize(
    ("number_class", "result", "who"),
    [("machine", CallResult.ANSWER, "cpa"), ("sip_404", CallResult.BUSY, "signalling")],
)
def test_given_a_wrong_result_when_judged_then_it_is_a_miss_of_whoever_decides(number_class, result, who):
    matched = report.match_truth([attempt(int(result))], [truth(number_class)])

    assert matched[who] == 0.0
    assert matched["misses"] == [{"attempt_id": 1, "class": number_class, "result": result.title}]


def test_given_calls_that_showed_nothing_when_judged_then_they_do_not_count():
    attempts = [attempt(CallResult.STALE), attempt(None, "12125552001"), attempt(CallResult.NO_ANSWER, "12125552002")]
    truths = [truth("human"), truth("human", "12125552001"), truth("cancelled", "12125552002")]

    assert report.match_truth(attempts, truths)["judged"] == 0


def test_given_a_full_trunk_when_judged_then_all_trunks_busy_is_right():
    matched = report.match_truth([attempt(CallResult.ALL_TRUNKS_BUSY)], [truth("trunk_full")])

    assert matched["signalling"] == 1.0


def test_given_a_bridged_call_when_both_heard_each_other_then_audio_is_ok():
    talked = truth("human", talk_began_at_s=1.0, ended_at_s=9.0, heard_codes={str(agent_code("1003")): 5})
    phones = [{"extension": "1003", "heard_codes": {str(customer_code(NUMBER)): 6}}]
    bridged = attempt(CallResult.ANSWER, connected=True, agent_id="agent3")

    assert report.audio_verdicts([bridged], [talked], phones)["ok"] == 1.0
    crossed = truth("human", talk_began_at_s=1.0, ended_at_s=9.0, heard_codes={str(agent_code("1004")): 5})
    assert report.audio_verdicts([bridged], [crossed], phones)["ok"] == 0.0
    assert report.audio_verdicts([bridged], [talked], [{"extension": "1003", "heard_codes": {}}])["ok"] == 0.0


def test_given_a_number_called_twice_when_counted_then_it_is_double_dialed():
    assert report.double_dialed([truth("human"), truth("human"), truth("human", "12125552001")]) == 1
    assert report.double_dialed([truth("human"), truth(report.CANCELLED)]) == 1


def test_given_a_number_that_the_carrier_had_no_way_to_when_called_once_more_then_that_is_no_double():
    assert report.double_dialed([truth("sip_503")] * 2) == 0
    assert report.double_dialed([truth("sip_503")] * 3) == 1


def test_given_everything_in_its_place_when_counted_then_nothing_is_lost():
    assert report.lost(10, {1: 7, 3: 3}, [attempt(33)], [truth("human")]) == 0


@pytest.mark.parametrize(
    ("statuses", "attempts", "truths"),
    [
        ({1: 7, 3: 2}, [], []),  # a row is missing
        ({1: 7, 2: 1, 3: 2}, [], []),  # a row is still Retrieved
        ({1: 10}, [attempt(None, finished=False)], []),
        ({1: 10}, [], [truth("human")]),  # the carrier saw a call that the journal does not know
    ],
)
def test_given_something_out_of_place_when_counted_then_it_is_lost(statuses, attempts, truths):
    assert report.lost(10, statuses, attempts, truths) == 1


def test_given_a_frame_when_drawn_as_picture_then_it_asks_nothing_of_the_network(tmp_path):
    figures = {
        "agents_logged_in": 4,
        "agents_ready": 1,
        "agents_talking": 3,
        "attempts": 9,
        "result_33": 4,
        "result_9": 2,
    }
    path = tmp_path / "demo.svg"
    view.save_picture(view.render(figures, title="demo", done=0.3), path)

    text = path.read_text()
    assert "Answering" in text
    assert "url(http" not in text
    assert "4 talking" not in view.plain_line(figures, 3.0)
    assert "3 talking" in view.plain_line(figures, 3.0)

"""Where the audio of a conversation flows: the machine alone."""

from hypothesis import given
from hypothesis import strategies as st

from ocsd.sessions.direct_path import HOME_TRIES, DirectPath, FarEnd, Move, Path, Side, StandBy

C, A = Side.CUSTOMER, Side.AGENT
ENDS = {C: FarEnd("192.0.2.1", 4000, 0, 101), A: FarEnd("192.0.2.2", 5000, 0, 96)}


def away():
    path = DirectPath()
    path.look(True, ENDS)
    path.answered(C, 200, ENDS[C])
    path.answered(A, 200, ENDS[A])
    assert path.path is Path.AWAY
    return path


def test_given_nobody_needs_the_audio_when_both_agree_then_each_has_the_others_address_the_customer_first():
    path = DirectPath()
    assert path.look(True, ENDS) == (StandBy(True), Move(C, ENDS[A]))
    assert path.look(True, ENDS) == (), "one at a time"
    assert path.answered(C, 200, ENDS[C]) == (Move(A, ENDS[C]),)
    assert path.answered(A, 200, ENDS[A]) == ()
    assert (path.path, path.waiting) == (Path.AWAY, set())


def test_given_a_customers_side_that_refuses_when_asked_then_nothing_has_changed_and_it_is_not_asked_again():
    path = DirectPath()
    path.look(True, ENDS)
    assert path.answered(C, 488, None) == (StandBy(False),)
    assert (path.path, path.refused) == (Path.HERE, "customer: 488")
    assert path.look(True, ENDS) == ()


def test_given_a_phone_that_refuses_when_the_customer_has_moved_then_the_customer_comes_back():
    path = DirectPath()
    path.look(True, ENDS)
    path.answered(C, 200, ENDS[C])
    assert path.answered(A, 415, None) == (Move(C, None),)
    assert path.answered(C, 200, ENDS[C]) == (StandBy(False),)
    assert (path.path, path.refused) == (Path.HERE, "agent: 415")


def test_given_audio_that_is_away_when_somebody_needs_it_then_both_come_back_at_once_and_it_may_leave_again():
    path = away()
    assert path.look(False, ENDS) == (Move(C, None), Move(A, None))
    assert path.answered(A, 200, ENDS[A]) == ()
    assert path.answered(C, 200, ENDS[C]) == (StandBy(False),)
    assert path.look(True, ENDS)[0] == StandBy(True)


def test_given_audio_on_its_way_out_when_somebody_needs_it_then_who_has_moved_comes_back():
    path = DirectPath()
    path.look(True, ENDS)
    assert path.look(False, ENDS) == ()
    assert path.answered(C, 200, ENDS[C]) == (Move(C, None),)


def test_given_far_ends_without_a_common_codec_when_one_answers_so_then_it_is_brought_back():
    path = DirectPath()
    path.look(True, ENDS)
    assert path.answered(C, 200, FarEnd("192.0.2.1", 4000, 8, 101)) == (Move(C, None),)
    assert path.refused == "no common codec"


def test_given_only_one_side_with_telephone_events_when_looked_at_then_the_audio_stays():
    path = DirectPath()
    assert path.look(True, {**ENDS, A: FarEnd("192.0.2.2", 5000, 0, 0)}) == ()
    assert path.refused == "only one side knows telephone events"


def test_given_audio_that_is_away_when_a_far_end_moves_then_the_other_is_told_and_hold_brings_it_back():
    path = away()
    moved = FarEnd("192.0.2.9", 4444, 0, 101)
    assert path.look(True, {**ENDS, C: moved}) == (Move(A, moved),)
    assert path.answered(A, 200, ENDS[A]) == ()
    on_hold = FarEnd("0.0.0.0", 4444)
    assert path.look(True, {**ENDS, C: on_hold}) == (Move(C, None), Move(A, None))
    assert path.refused == "on hold"


def test_given_a_far_end_that_answers_with_another_port_each_time_when_followed_then_not_for_ever():
    path = DirectPath()
    orders = list(path.look(True, ENDS))
    for port in range(6000, 6100, 2):
        moves = [order for order in orders if isinstance(order, Move)]
        if not moves or moves[0].to is None:
            break
        side = moves[0].side
        orders = list(path.answered(side, 200, FarEnd("192.0.2.3", port)))
    assert path.refused == "the far ends keep moving"
    assert path.path is Path.RETURNING


def test_given_a_far_end_that_would_not_come_back_when_asked_thrice_then_it_is_given_up_loudly():
    path = away()
    path.look(False, ENDS)
    path.answered(C, 200, ENDS[C])
    for _ in range(HOME_TRIES - 1):
        assert path.answered(A, 500, None) == (Move(A, None, again=True),)
    assert path.answered(A, 500, None) == (StandBy(False),)
    assert path.stuck == {A}
    assert path.look(True, ENDS) == ()


def test_given_a_daemon_that_takes_over_when_it_looks_then_both_are_told_again_or_brought_back():
    told, needed = DirectPath(), DirectPath()
    told.adopt()
    needed.adopt()
    assert told.look(True, ENDS) == (Move(C, ENDS[A]), Move(A, ENDS[C]))
    assert needed.look(False, ENDS) == (Move(C, None), Move(A, None))


EVENT = st.one_of(
    st.tuples(st.just("look"), st.booleans(), st.sampled_from([4000, 4002, 0])),
    st.tuples(st.just("answer"), st.sampled_from([200, 200, 200, 488, 491, 0]), st.sampled_from([C, A])),
)


@given(st.lists(EVENT, max_size=40))
def test_given_any_history_when_all_is_answered_and_somebody_needs_the_audio_then_it_is_here_and_nobody_else_moved(
    history,
):
    path, where, standing_by = DirectPath(), {C: None, A: None}, False
    pending: dict[Side, Move] = {}

    def obey(orders):
        nonlocal standing_by
        for order in orders:
            match order:
                case StandBy(on):
                    standing_by = on
                case Move(side):
                    assert side not in pending, "one re-INVITE at a time"
                    pending[side] = order

    def answer(side, status):
        order = pending.pop(side)
        if status == 200:
            where[side] = order.to
        obey(path.answered(side, status, ENDS[side] if status == 200 else None))

    for kind, one, other in history:
        if kind == "look":
            obey(path.look(one, {**ENDS, C: FarEnd("192.0.2.1", other)}))
        elif other in pending:
            answer(other, one)
        # Whoever sends past us is covered: the media server relays, and fills no silence.
        assert standing_by or not any(where.values()) or path.stuck
    for _ in range(20):
        obey(path.look(False, ENDS))
        for side in list(pending):
            answer(side, 200)
    assert path.path is Path.HERE
    assert not standing_by
    assert not pending
    assert not any(to for side, to in where.items() if side not in path.stuck)

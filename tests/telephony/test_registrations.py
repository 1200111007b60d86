"""Who holds which registration: every wanted one is held once, by a worker that stays."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from telephony.contract import Register, Registered, Unregister
from telephony.registrations import Order, Registrations

A, B = Register("a", "sip:r", "sip:a@r", "a", "secret"), Register("b", "sip:r", "sip:b@r")


def told(registration_id: str, status: int = 200) -> Registered:
    return Registered(registration_id, status, 300 if status == 200 else 0, 1.0)


def test_given_two_workers_when_two_are_wanted_then_each_holds_one_and_again_nothing_is_sent():
    registrations = Registrations[str]()
    registrations.want([A, B])
    both = {"one": True, "two": True}

    assert registrations.settle(both) == [Order("one", A), Order("two", B)]
    assert registrations.settle(both) == []


def test_given_a_holder_that_dies_when_settled_then_another_takes_over_and_nothing_old_counts():
    registrations = Registrations[str]()
    registrations.want([A])
    registrations.settle({"one": True})
    registrations.said("one", told("a"))
    assert registrations.status("a") == told("a")

    registrations.gone("one")

    assert registrations.status("a") is None
    assert registrations.settle({"two": True}) == [Order("two", A)]
    registrations.said("one", told("a", 403))
    assert registrations.status("a") is None


def test_given_a_holder_about_to_exit_when_another_stays_then_it_is_handed_over():
    registrations = Registrations[str]()
    registrations.want([A])
    registrations.settle({"one": True})

    assert registrations.settle({"one": False}) == []  # nobody else: better there than nowhere
    assert registrations.settle({"one": False, "two": True}) == [Order("one", Unregister("a")), Order("two", A)]


def test_given_a_new_daemon_when_workers_tell_what_they_hold_then_it_stays_and_strangers_go():
    registrations = Registrations[str]()

    assert registrations.found("one", [told("a"), told("old")]) == []
    assert registrations.found("two", [told("a")]) == [Order("two", Unregister("a"))]
    assert registrations.settle({"one": True, "two": True}) == []  # nothing is wanted yet: nothing is dropped
    registrations.want([A])

    assert registrations.status("a") == told("a")
    assert registrations.settle({"one": True, "two": True}) == [Order("one", Unregister("old")), Order("one", A)]


def test_given_other_credentials_when_wanted_then_its_holder_is_told():
    registrations = Registrations[str]()
    registrations.want([A])
    registrations.settle({"one": True})
    changed = Register("a", "sip:r", "sip:a@r", "a", "another")
    registrations.want([changed])

    assert registrations.settle({"one": True, "two": True}) == [Order("one", changed)]


def test_given_a_command_lost_on_a_broken_connection_when_its_worker_is_back_without_it_then_it_is_sent_again():
    registrations = Registrations[str]()
    registrations.want([A])
    registrations.settle({"one": True})
    assert registrations.settle({}) == []  # out of reach, not yet gone

    assert registrations.found("one", []) == []

    assert registrations.settle({"one": True}) == [Order("one", A)]


def test_given_a_worker_without_room_when_it_refuses_then_another_takes_it_until_one_has_left():
    registrations = Registrations[str]()
    registrations.want([A, B])
    both = {"one": True, "two": True}
    registrations.settle(both)
    full = Registered("b", 503, 0, 1.0, "full", no_room=True)

    registrations.said("two", full)
    assert registrations.status("b") == full
    assert registrations.settle(both) == [Order("one", B)]
    registrations.said("one", full)
    assert registrations.settle(both) == []  # nowhere, until something changes

    registrations.want([B])
    assert registrations.settle(both) == [Order("one", Unregister("a")), Order("one", B)]
    registrations.said("one", told("b"))
    assert registrations.status("b") == told("b")


def test_given_nobody_with_room_when_a_worker_starts_anew_then_it_gets_the_registration():
    registrations = Registrations[str]()
    registrations.want([A])
    registrations.settle({"one": True})
    registrations.said("one", Registered("a", 503, 0, 1.0, no_room=True))

    assert registrations.settle({"one": True, "two": True}) == [Order("two", A)]
    registrations.said("two", Registered("a", 503, 0, 1.0, no_room=True))
    registrations.gone("one")
    registrations.found("one", [])

    assert registrations.settle({"one": True, "two": True}) == [Order("one", A)]


MOST = 2


class Plane(RuleBasedStateMachine):
    """Workers come, go and are cut off; what they hold follows from what they were sent, `MOST` each."""

    def __init__(self) -> None:
        super().__init__()
        self.registrations = Registrations[int]()
        self.workers: dict[int, dict[str, Register]] = {}
        self.reachable: set[int] = set()
        self.wanted: dict[str, Register] = {}
        self.next_worker = 0

    def obey(self, orders, arrives: bool = True) -> None:
        for order in orders:
            if order.worker not in self.reachable or not arrives:
                continue
            match order.command:
                case Register():
                    held, registration_id = self.workers[order.worker], order.command.registration_id
                    if registration_id not in held and len(held) >= MOST:
                        no_room = Registered(registration_id, 503, 0, 1.0, no_room=True)
                        self.registrations.said(order.worker, no_room)
                        self.settle()
                    else:
                        held[registration_id] = order.command
                case Unregister():
                    self.workers[order.worker].pop(order.command.registration_id, None)

    def settle(self) -> None:
        self.obey(self.registrations.settle(dict.fromkeys(sorted(self.reachable), True)))

    @rule(ids=st.sets(st.sampled_from("abcd")), password=st.sampled_from(["x", "y"]))
    def want(self, ids, password) -> None:
        self.wanted = {one: Register(one, "sip:r", f"sip:{one}@r", one, password) for one in ids}
        self.registrations.want(self.wanted.values())
        self.settle()

    @rule()
    def start(self) -> None:
        self.next_worker += 1
        self.workers[self.next_worker] = {}
        self.reachable.add(self.next_worker)
        self.obey(self.registrations.found(self.next_worker, []))
        self.settle()

    @rule(data=st.data())
    def kill(self, data) -> None:
        if self.workers:
            worker = data.draw(st.sampled_from(sorted(self.workers)))
            del self.workers[worker]
            self.reachable.discard(worker)
            self.registrations.gone(worker)
            self.settle()

    @rule(data=st.data())
    def cut(self, data) -> None:
        if self.reachable:
            self.reachable.discard(data.draw(st.sampled_from(sorted(self.reachable))))
            self.settle()

    @rule(data=st.data())
    def reconnect(self, data) -> None:
        away = sorted(set(self.workers) - self.reachable)
        if away:
            worker = data.draw(st.sampled_from(away))
            self.reachable.add(worker)
            self.obey(self.registrations.found(worker, [told(one) for one in self.workers[worker]]))
            self.settle()

    @invariant()
    def each_is_held_once(self) -> None:
        if set(self.workers) != self.reachable or not self.workers:
            return
        held = sorted(one for worker in self.workers.values() for one in worker)
        assert len(held) == min(len(self.wanted), MOST * len(self.workers))
        assert len(set(held)) == len(held)
        assert set(held) <= set(self.wanted)
        for worker in self.workers.values():
            for registration_id, command in worker.items():
                assert command == self.wanted[registration_id]


Plane.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestPlane = Plane.TestCase

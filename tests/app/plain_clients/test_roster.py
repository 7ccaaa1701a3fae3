"""Who is who in a round: by what nodes say, else by the order of their ids."""

from fedkd.app.plain_clients.roster import Roster

A, B, C = 2**63 + 5, 2**63 + 1, 7


def test_nodes_are_who_they_say_they_are() -> None:
    roster = Roster()
    assert roster.admit([A, B], {A: 4, B: 0}) == ({A: 4, B: 0}, {})
    clients, faults = roster.admit([A, B, C], {A: 4, C: 1})
    assert (clients, faults) == ({A: 4, B: 0, C: 1}, {})


def test_nodes_that_say_nothing_are_numbered_in_the_order_of_their_ids() -> None:
    roster = Roster()
    assert roster.admit([A, B], {A: None, B: None})[0] == {B: 0, A: 1}
    assert roster.admit([C, A], {C: None, A: None})[0] == {B: 0, A: 1, C: 2}
    assert roster.admit([A, 8], {8: 1})[1] == {
        8: "says that it is partition-id 1, as another node does; each needs its own"
    }


def test_a_silent_node_keeps_no_number() -> None:
    roster = Roster()
    assert roster.admit([A, B], {B: None})[0] == {B: 0, A: 1}
    assert roster.admit([A, C], {A: 3, C: None}) == ({B: 0, A: 3, C: 1}, {})


def test_two_that_say_the_same_are_both_at_fault() -> None:
    clients, faults = Roster().admit([A, B, C], {A: 1, B: 1, C: 0})
    assert set(faults) == {A, B}
    assert clients[C] == 0
    assert len(set(clients.values())) == 3

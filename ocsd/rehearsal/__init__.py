"""
Rehearsals: a campaign group's own session code in virtual time, against a simulated world and a copy of its lists.

    world      what happens to one call: times and findings, drawn from a mix
    mixes      mixes from files, and where each figure of a mix comes from
    history    the mix of a list's own past calls
    lists      a copy of the group's lists in memory, from the database or made up
    attempt    the shell of an attempt: the same machine, other legs
    session    the shell of a session: the same session, another clock
    agents     who works when
    figures    what is measured, minute by minute
    run        one variant with one seed
    compare    variants beside each other, over seeds
    plotting   the same, drawn
"""

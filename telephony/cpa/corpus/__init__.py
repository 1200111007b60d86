"""A corpus of called parties that anyone can make again: calls as a dialer hears them, with their truth.

``python -m telephony.cpa.corpus make DIR --seed S`` writes WAV files and ``manifest.jsonl``. It is a tool of
developers: it needs espeak-ng, flite and sox, and nothing that runs in service imports it.

Theory of operation. A plan lists the files of each class; every file has a random generator of its own, seeded by
corpus seed, class and number, so that a file does not change when others are added or left out. A *scene* is what the
called side makes: a person, a mailbox, the tones of an exchange, music. The *line* is what happens to it on the way:
room, telephone, codecs, level, noise, lost packets. Truth (end of the greeting, onset of the beep) is taken from the
scene, before anything is spoilt.

Left-out data stays left out in three ways: ``train`` and ``test`` share no synthetic voice, ``test`` speaks languages
and sentences that ``train`` never does, and ``real`` is recorded voices of people who are not in ``train``.
"""

"""How the model that tells persons from machines is trained: a tool for developers, never imported at run time.

    python -m telephony.cpa.corpus make DIR --size full
    python -m telephony.cpa.training fit DIR [DIR...]

`traces` plays recordings to the very analyser of the media server and keeps what the model would have been asked;
`fit` grows the trees (scikit-learn) and writes them as arrays; `score` replays the decisions of a call on the answers.
"""

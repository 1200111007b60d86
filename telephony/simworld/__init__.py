"""The simulated world: a carrier and agents that behave like the real ones on SIP, RTP and WebSockets, on loopback.

It serves the demo, the tests and rehearsals. Everything heard or said is real G.711 in real RTP packets; everything
that happens is decided by a seed and written down as the truth that results are compared with.
"""

"""One call as a plain script would do it: a process that receives, decodes, analyses and answers one channel.

Used by `bench.media` as what the media server is compared with. It runs the very same analysis, on one channel.
"""

import resource
import socket
import struct
import sys
import time

import numpy as np

from telephony.contract import AnalysisSettings
from telephony.cpa import Analyser
from telephony.media.g711 import ULAW_TO_LINEAR, linear_to_ulaw


def main() -> None:
    """``media_script SECONDS``: prints the port, then the CPU seconds of each second of audio, packets and peak MB."""
    seconds = float(sys.argv[1])
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    print(sock.getsockname()[1], flush=True)
    analyser = Analyser(1)
    long = AnalysisSettings(timeguard_ms=3_600_000, initial_silence_ms=3_600_000)
    active = np.array([True])
    seq = packets = 0
    sock.settimeout(20.0)
    sock.recvfrom(2048)
    until_s = time.monotonic() + seconds
    began_s = time.process_time()
    while time.monotonic() < until_s:
        datagram, source = sock.recvfrom(2048)
        if not analyser.analysing[0]:
            analyser.start(0, long, True)
        octets = np.frombuffer(datagram, dtype=np.uint8, offset=12)
        samples = ULAW_TO_LINEAR[octets]
        analyser.step(samples[None, :], active, time.monotonic())
        seq += 1
        head = struct.pack("!BBHII", 0x80, 0, seq & 0xFFFF, seq * 160 & 0xFFFFFFFF, 1)
        sock.sendto(head + linear_to_ulaw(np.zeros(160, dtype=np.int16)).tobytes(), source)
        packets += 1
    audio_s = packets * 0.02
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print((time.process_time() - began_s) / max(audio_s, 0.02), packets, round(peak_mb, 1), flush=True)


if __name__ == "__main__":
    main()

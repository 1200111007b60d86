"""Signs of life to a service manager."""

import socket

from telephony.notify import service_notifier


def test_given_a_manager_that_reads_nothing_when_told_often_then_nobody_waits_for_it(tmp_path, monkeypatch):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        notifier = service_notifier(wait_s=0.0)
        for _ in range(2_000):  # more than the kernel keeps for it (net.unix.max_dgram_qlen)
            notifier.notify("WATCHDOG=1")

        assert manager.recv(100) == b"WATCHDOG=1"
        notifier.socket.close()

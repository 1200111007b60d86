"""Recordings: what is on disk afterwards, whatever happens to disk, writer and server meanwhile."""

import errno
import fcntl
import hashlib
import itertools
import json
import os
import select
import signal
import wave
from pathlib import Path

import numpy as np
import pytest

from telephony import contract as wire
from telephony.contract import Layout, RecordingFinished, StartRecording
from telephony.media import recording, recording_wire
from telephony.media.g711 import linear_to_ulaw, ulaw_to_linear
from telephony.media.recording import Recorder, RecordingError
from telephony.media.recording_writer import Writer, repair
from tests.telephony.media_peer import LIMIT_S, Daemon, Phone, Server, free_port_range
from tests.telephony.signals import clip, over_the_line, silence

RNG = np.random.default_rng(5)


def read(path):
    """(frames, channels) of a finished recording, after all that its sidecar says has been checked."""
    about = json.loads(path.with_name(path.name + ".json").read_text())
    octets = path.read_bytes()
    assert about["complete"] is True
    assert about["sha256"] == hashlib.sha256(octets).hexdigest()
    assert about["size_bytes"] == len(octets)
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getsampwidth()) == (8000, 2)
        assert about["duration_s"] == pytest.approx(file.getnframes() / 8000, abs=0.006)
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        return samples.reshape(-1, file.getnchannels()), about


def frames_of(samples):
    return samples[: len(samples) // 160 * 160].reshape(-1, 160)


def random_frames(count):
    return RNG.integers(-20000, 20000, (count, 160)).astype(np.int16)


# --- the writer, on a disk that may be broken -------------------------------------------------------------------


class Harness:
    """A writer without its process."""

    def __init__(self, folder, write=os.write):
        self.replies = []
        self.writer = Writer(folder, lambda kind, body: self.replies.append((kind, dict(body))), write)

    def start(self, path="a.wav", number=1, channels=1):
        self.send(recording_wire.START, {"number": number, "path": path, "channels": channels, "channel_id": "c"})

    def send(self, kind, body):
        self.writer.frame(kind, json.dumps(body).encode())

    def audio(self, first, frames, number=1):
        self.writer.frame(recording_wire.AUDIO, recording_wire.AUDIO_HEAD.pack(number, first) + frames.tobytes())

    def stop(self, frames, number=1):
        self.send(recording_wire.STOP, {"number": number, "frames": frames})
        self.writer.close()
        return self.answer(number)

    def answer(self, number=1):
        (found,) = [b for k, b in self.replies if k == recording_wire.FINISHED and b["number"] == number]
        return found


def test_given_a_recording_when_stopped_then_it_is_whole_under_its_name_and_never_before(tmp_path):
    harness = Harness(tmp_path)
    frames = random_frames(30)
    harness.start("2031/05/a.wav")
    for i in range(0, 30, 10):
        harness.audio(i, frames[i : i + 10])
        assert not (tmp_path / "2031/05/a.wav").exists()

    answer = harness.stop(30)

    samples, about = read(tmp_path / "2031/05/a.wav")
    assert np.array_equal(samples[:, 0], frames.ravel())
    assert answer["sha256"] == about["sha256"]
    assert (answer["gaps"], answer["duration_s"], answer["error"]) == (0, 0.6, "")
    assert (about["channel_id"], about["interrupted"]) == ("c", False)
    assert sorted(p.name for p in (tmp_path / "2031/05").iterdir()) == ["a.wav", "a.wav.json"]


def test_given_missing_frames_when_written_then_silence_keeps_the_rest_in_its_place(tmp_path):
    harness = Harness(tmp_path)
    frames = random_frames(40)
    harness.start()
    harness.audio(0, frames[:10])
    harness.audio(25, frames[25:30])

    answer = harness.stop(40)

    samples, about = read(tmp_path / "a.wav")
    whole = frames_of(samples[:, 0])
    assert np.array_equal(whole[:10], frames[:10])
    assert np.array_equal(whole[25:30], frames[25:30])
    assert not whole[10:25].any()
    assert not whole[30:].any()
    assert (answer["gaps"], len(whole)) == (25, 40)
    assert about["gap_ranges_s"] == [[0.2, 0.3], [0.6, 0.2]]


@pytest.mark.parametrize("room", [44 + 320 * 3, 44 + 320 * 3 + 77, 44 + 320 * 12])
def test_given_a_disk_that_becomes_full_when_written_then_what_fits_is_a_recording_and_the_reason_is_told(
    tmp_path, room
):
    written = 0

    def write(fd, data):
        nonlocal written
        if written >= room:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = os.write(fd, data[: room - written])
        written += count
        return count

    harness = Harness(tmp_path, write)
    frames = random_frames(20)
    harness.start()
    for i in range(20):
        harness.audio(i, frames[i : i + 1])
    harness.send(recording_wire.STOP, {"number": 1, "frames": 20})
    harness.writer.close()

    samples, about = read(tmp_path / "a.wav")
    kept = (room - 44) // 320
    assert np.array_equal(frames_of(samples[:, 0]), frames[:kept])
    assert about["error"] == harness.answer()["error"] == "No space left on device"


def test_given_a_disk_that_takes_little_at_a_time_when_written_then_nothing_is_missing(tmp_path):
    harness = Harness(tmp_path, lambda fd, data: os.write(fd, data[:77]))
    frames = random_frames(5)
    harness.start()
    harness.audio(0, frames)
    harness.stop(5)

    assert np.array_equal(read(tmp_path / "a.wav")[0][:, 0], frames.ravel())


def test_given_a_full_disk_when_a_recording_begins_then_refused_and_nothing_is_left(tmp_path):
    def write(fd, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    harness = Harness(tmp_path, write)
    harness.start()

    assert harness.answer()["error"] == "No space left on device"
    assert list(tmp_path.iterdir()) == []


def test_given_a_name_that_exists_when_asked_then_refused_and_the_old_file_stays(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"old")
    harness = Harness(tmp_path)
    harness.start()

    assert "already" in harness.answer()["error"]
    assert (tmp_path / "a.wav").read_bytes() == b"old"


@pytest.mark.parametrize("links", [True, False])
def test_given_another_server_that_takes_the_name_meanwhile_when_asked_then_refused_and_its_recording_stays(
    tmp_path, monkeypatch, links
):
    theirs = tmp_path / "a.wav.part"

    def write(fd, data):
        theirs.write_bytes(b"theirs")  # between the look for the name and taking it
        return os.write(fd, data)

    def no_links(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    harness = Harness(tmp_path, write)
    harness.start()

    assert harness.answer()["error"] == "File exists"
    assert theirs.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [theirs], "nothing of ours is left"


def test_given_a_part_that_waits_for_repair_when_another_would_take_its_name_then_both_stay(tmp_path):
    for name in ("a", "a~repaired"):
        (tmp_path / f"{name}.wav.part").write_bytes(recording_wire.wav_header(0, 1) + name[-1:].encode() * 320)
    (tmp_path / "a.wav").write_bytes(b"old")
    for part in sorted(tmp_path.glob("*.part")):
        repair(part, tmp_path)

    ends = {path.name: path.read_bytes()[-1:] for path in tmp_path.glob("*.wav")}
    assert ends == {"a.wav": b"d", "a~repaired.wav": b"d", "a~repaired~repaired.wav": b"a"}


def test_given_a_link_that_leads_outside_when_written_through_then_refused(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (inside / "link").symlink_to(outside)
    (inside / "b.wav.part").symlink_to(outside / "b")
    harness = Harness(inside)
    harness.start("link/a.wav", 1)
    harness.start("b.wav", 2)

    assert "outside" in harness.answer(1)["error"]
    assert harness.answer(2)["error"]
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    "path",
    ["", ".wav", "a.mp3", "/a.wav", "../a.wav", "a/../b.wav", "a//b.wav", ".a/b.wav", "a\0.wav", "x" * 500 + ".wav"],
)
def test_given_a_path_that_must_not_be_when_asked_then_both_sides_refuse_it(tmp_path, path):
    assert recording_wire.path_problem(path)
    harness = Harness(tmp_path)
    harness.start(path)
    assert harness.answer()["error"]
    assert list(tmp_path.iterdir()) == []


def test_given_a_part_left_by_a_crash_when_repaired_then_it_is_a_recording_with_its_description(tmp_path):
    harness = Harness(tmp_path)
    frames = random_frames(12)
    harness.start("d/a.wav", channels=2)
    harness.audio(0, frames)
    part = tmp_path / "d" / "a.wav.part"
    crashed = part.read_bytes() + b"\x01"  # and half a sample
    draft = (tmp_path / "d" / "a.wav.json").read_text()
    harness.writer.close()
    for path in (tmp_path / "d").iterdir():
        path.unlink()
    part.write_bytes(crashed)
    (tmp_path / "d" / "a.wav.json").write_text(draft)

    said = repair(part, tmp_path)

    samples, about = read(tmp_path / "d" / "a.wav")
    assert said == "repaired as d/a.wav"
    assert np.array_equal(samples.ravel(), frames.ravel())
    assert (about["interrupted"], about["channel_id"]) == (True, "c")


def test_given_a_part_that_is_being_written_when_repaired_then_it_is_left_alone(tmp_path):
    part = tmp_path / "a.wav.part"
    part.write_bytes(recording_wire.wav_header(0, 1))
    with part.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert repair(part, tmp_path) == "is being written"
    assert part.exists()
    part.write_bytes(b"RIF")
    assert repair(part, tmp_path) == "was empty"
    assert not part.exists()


def test_given_a_name_that_was_taken_meanwhile_when_repaired_then_both_stay(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"other")
    part = tmp_path / "a.wav.part"
    part.write_bytes(recording_wire.wav_header(0, 1) + random_frames(2).tobytes())
    (tmp_path / "a.wav.json").write_text('{"file": "a.wav", "complete": false}')
    repair(part, tmp_path)

    assert (tmp_path / "a.wav").read_bytes() == b"other"
    samples, about = read(tmp_path / "a~repaired.wav")
    assert (len(samples), about["file"]) == (320, "a~repaired.wav")


def test_given_a_writer_killed_when_it_gave_the_name_when_repaired_then_there_is_one_recording(tmp_path):
    harness = Harness(tmp_path)
    harness.start()
    harness.audio(0, random_frames(3))
    harness.stop(3)
    whole = read(tmp_path / "a.wav")
    os.link(tmp_path / "a.wav", tmp_path / "a.wav.part")  # the name is given by a link; the other one goes after it

    assert repair(tmp_path / "a.wav.part", tmp_path) == "had its name already"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "a.wav.json"]
    assert np.array_equal(read(tmp_path / "a.wav")[0], whole[0])


def test_given_a_writer_killed_before_it_gave_the_name_when_repaired_then_the_description_is_not_lost(tmp_path):
    harness = Harness(tmp_path)
    harness.start()
    harness.audio(0, random_frames(3))
    harness.stop(3)
    (tmp_path / "a.wav").rename(tmp_path / "a.wav.part")

    assert repair(tmp_path / "a.wav.part", tmp_path) == "repaired as a.wav"
    about = read(tmp_path / "a.wav")[1]
    assert (about["file"], about["channel_id"], about["interrupted"]) == ("a.wav", "c", True)


# --- the recorder with its process ------------------------------------------------------------------------------


class Line:
    """A recorder and the frames it is fed: row 3 of five."""

    def __init__(self, folder, **start):
        self.recorder = Recorder(folder, 4, wall=lambda: "2031-05-06T07:08:09.000+00:00")
        self.said, self.sent = [], []
        self.log, self.beeps = [], []
        self.now_s = 50.0

    def start(self, path="a.wav", channel_id="c", row=3, **more):
        self.recorder.start(row, StartRecording(channel_id, path, **more), self.now_s)

    def tick(self, count=1):
        """``count`` ticks; the recordings that ended."""
        found = []
        for _ in range(count):
            self.now_s += 0.02
            frames, sent = random_frames(5), random_frames(3)
            self.said.append(frames[3])
            self.sent.append(sent[1])
            done = self.recorder.tick(frames, np.array([1, 3, 4]), sent, self.now_s)
            found += done.finished
            self.log += done.log
            self.beeps += [(len(self.said), row) for row in done.beeps]
        return found

    def wait(self, wanted=1, logged=()):
        """Tick until so many recordings have ended, and this is in the log. Answers are waited for, not guessed at."""
        found = self.tick()
        while len(found) < wanted or not all(any(one in line for line in self.log) for one in logged):
            writer = self.recorder._writer
            if writer is not None:
                hungry = [writer.commands_fd] if self.recorder._backlog else []
                ready = select.select([writer.replies_fd], hungry, [], LIMIT_S)
                assert any(ready), "the writer says nothing"
            found += self.tick()
        return found


@pytest.fixture
def line(tmp_path):
    made = Line(tmp_path)
    yield made
    made.recorder.close()


def test_given_both_directions_when_recorded_then_left_and_right_are_aligned_to_the_sample(tmp_path, line):
    line.tick(7)
    line.start()
    line.start()  # asked again: the same recording
    line.tick(53)
    line.recorder.stop("c")

    (ended,) = line.wait()

    samples, about = read(tmp_path / "a.wav")
    assert np.array_equal(samples[:, 0], np.concatenate(line.said[7:60]))
    assert np.array_equal(samples[:, 1], np.concatenate(line.sent[7:60]))
    assert ended == RecordingFinished("c", "a.wav", 1.06, about["sha256"], 44 + 53 * 640, 0, ended.began_at_s, "")
    assert (about["layout"], about["began"]) == ("stereo", "2031-05-06T07:08:09.000+00:00")


def test_given_mono_when_recorded_then_both_are_added_and_clipped(tmp_path, line):
    line.start(layout=Layout.MONO)
    line.tick(25)
    line.recorder.stop("c", "a.wav")
    line.wait()

    both = np.concatenate(line.said[:25]).astype(int) + np.concatenate(line.sent[:25])
    assert np.array_equal(read(tmp_path / "a.wav")[0][:, 0], np.clip(both, -32768, 32767))


def test_given_several_recordings_when_each_ends_then_each_has_its_own_part(tmp_path, line):
    line.start("a.wav")
    line.tick(5)
    line.start("b.wav", max_s=0.3)
    line.tick(30)
    line.recorder.stop("c", "a.wav")

    assert {one.path: one.duration_s for one in line.wait(2)} == {"a.wav": 0.7, "b.wav": 0.3}
    assert np.array_equal(read(tmp_path / "b.wav")[0][:, 0], np.concatenate(line.said[5:20]))
    assert line.recorder.count == 0


def test_given_a_consent_tone_when_recording_then_it_is_due_at_the_beginning_and_at_its_interval(line):
    line.start(consent_tone_s=1.0)
    line.tick(120)

    assert line.beeps == [(1, 3), (51, 3), (101, 3)]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"path": "../a.wav"}, "outside"),
        ({"max_s": 0.0}, "max_s"),
        ({"max_s": float("nan")}, "max_s"),
        ({"consent_tone_s": 0.1}, "consent_tone_s"),
        ({"channel_id": "other"}, "another channel"),
    ],
)
def test_given_what_cannot_be_recorded_when_asked_then_refused(line, more, why):
    line.start()
    with pytest.raises(RecordingError, match=why):
        line.start(**{"path": "a.wav", **more})
    for i in range(3):
        line.start(f"{i}.wav")
    with pytest.raises(RecordingError, match="4 recordings"):
        line.start("one-more.wav")
    with pytest.raises(RecordingError, match="no recording folder"):
        Recorder(None, 1).start(0, StartRecording("c", "a.wav"), 0.0)


def test_given_a_writer_that_stalls_when_ticked_then_nothing_waits_and_what_is_lost_is_counted(
    tmp_path, line, monkeypatch
):
    monkeypatch.setattr(recording, "MAX_BACKLOG_BYTES", 200_000)
    line.start()
    line.tick(100)
    os.kill(line.recorder.writer_pid, signal.SIGSTOP)
    try:
        line.tick(3000)  # a minute; one write that waits would wait for ever
    finally:
        os.kill(line.recorder.writer_pid, signal.SIGCONT)
    line.recorder.stop("c")
    lost = line.recorder.gaps
    assert lost > 500

    (ended,) = line.wait()

    samples, _ = read(tmp_path / "a.wav")
    left = frames_of(samples[:, 0])
    said = np.array(line.said[: len(left)])
    missing = (left == 0).all(axis=1)
    assert len(left) == 3100
    assert ended.gaps == missing.sum() == lost
    assert np.array_equal(left[~missing], said[~missing])
    assert np.array_equal(frames_of(samples[:, 1])[~missing], np.array(line.sent[: len(left)])[~missing])


def test_given_a_writer_that_is_killed_when_ticked_then_both_parts_of_the_recording_are_there(tmp_path, line):
    line.start(consent_tone_s=2.0)
    line.start("short.wav")
    line.tick(40)
    line.recorder.stop("c", "short.wav")
    line.wait()
    pid = line.recorder.writer_pid
    wait_pid = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    assert select.select([wait_pid], [], [], LIMIT_S)[0]
    os.close(wait_pid)
    first_count = len(line.said)

    (ended,) = line.wait()

    assert (ended.path, ended.continued_in) == ("a.wav", "a~2.wav")
    assert "died" in ended.error
    line.tick(30)
    end = len(line.sent)
    line.recorder.stop("c")
    (again,) = line.wait(logged=["a.wav.part repaired as a.wav"])
    assert (again.path, again.error) == ("a~2.wav", "")
    first, about = read(tmp_path / "a.wav")
    second, _ = read(tmp_path / "a~2.wav")
    assert about["interrupted"] is True
    assert len(first) // 160 >= first_count - 12
    assert np.array_equal(first[:, 0], np.concatenate(line.said)[: len(first)])
    count = len(second) // 160
    assert count >= 30
    assert np.array_equal(second[:, 1], np.concatenate(line.sent[end - count : end]))


def test_given_a_writer_that_cannot_work_when_recording_is_asked_then_it_ends_with_the_reason_and_leaves_nothing(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(recording.sys, "executable", "/bin/false")
    line = Line(tmp_path)
    line.start()

    (ended,) = line.wait()

    assert ("died" in ended.error, ended.continued_in) == (True, "")
    assert line.recorder.count == 0
    with pytest.raises(RecordingError, match="does not start"):
        line.start()
    assert line.tick(200) == []  # it is tried again, ever more seldom, and fails each time
    assert list(tmp_path.iterdir()) == []
    line.recorder.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_given_a_signal_meant_for_the_server_when_the_writer_gets_it_too_then_it_writes_on(tmp_path, line, number):
    line.start("first.wav", max_s=0.02)
    line.tick(1)
    line.wait()  # it has taken its precautions
    line.start()
    line.tick(20)
    os.kill(line.recorder.writer_pid, number)
    line.tick(20)
    line.recorder.stop("c")

    (ended,) = line.wait()
    assert (ended.path, ended.error, ended.duration_s) == ("a.wav", "", 0.8)


def test_given_no_descriptors_left_when_a_writer_is_to_start_then_none_is_kept(tmp_path, monkeypatch):
    made, pipe2 = [], os.pipe2

    def second_fails(flags):
        if made:
            raise OSError(errno.EMFILE, "Too many open files")
        made.extend(pipe2(flags))
        return tuple(made)

    monkeypatch.setattr(os, "pipe2", second_fails)
    with pytest.raises(OSError, match="Too many"):
        recording.WriterProcess(tmp_path)

    assert [fd for fd in made if Path(f"/proc/self/fd/{fd}").exists()] == []


def test_given_two_writers_of_one_folder_when_one_starts_then_it_leaves_the_others_recordings_alone(tmp_path, line):
    line.start()
    line.tick(10)
    other = Line(tmp_path)
    other.start("b.wav")
    other.tick(5)
    other.recorder.stop("c")
    other.wait()
    line.tick(20)
    line.recorder.stop("c")
    (ended,) = line.wait()
    other.recorder.close()

    assert (ended.error, ended.duration_s) == ("", 0.6)
    assert read(tmp_path / "a.wav")[1]["interrupted"] is False


def test_given_a_server_that_ends_when_recording_then_the_recording_is_finished_first(tmp_path):
    line = Line(tmp_path)
    line.start()
    line.tick(33)
    line.recorder.close()

    assert len(read(tmp_path / "a.wav")[0]) == 33 * 160


def test_given_one_that_cannot_begin_when_ticked_then_it_is_told_and_the_other_goes_on(tmp_path, line):
    line.start("a.wav")
    (tmp_path / "file").write_text("no folder")
    line.start("file/b.wav")

    (ended,) = line.wait()

    assert (ended.path, ended.duration_s, ended.sha256) == ("file/b.wav", 0.0, "")
    assert ended.error
    assert line.recorder.count == 1


# --- in a server, over sockets ----------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path):
    run_dir, recordings = tmp_path / "run", tmp_path / "recordings"
    run_dir.mkdir()
    recordings.mkdir()
    return run_dir, recordings


@pytest.fixture
def server(folders):
    run_dir, recordings = folders
    running = Server(run_dir, free_port_range(8), "--recording-dir", str(recordings))
    yield running
    if running.process.poll() is None:
        assert running.stop() == 0


def call(daemon):
    """Two phones, bridged."""
    phones = []
    for name in ("alice", "bob"):
        phone = Phone(daemon.open(name))
        daemon.send(wire.SetRemote(name, "127.0.0.1", phone.port))
        phones.append(phone)
    daemon.send(wire.Bridge("alice", "bob"))
    daemon.barrier()
    return phones


def talk(alice, bob, frames_a, frames_b):
    for a, b in zip(frames_a, frames_b, strict=True):
        alice.hear()
        bob.hear()
        alice.send(a)
        bob.send(b)


def loudest_at(samples):
    """Where the loudest third of a second begins."""
    power = np.cumsum(np.concatenate([[0.0], samples.astype(float) ** 2]))
    return int((power[2400:] - power[:-2400]).argmax())


def loudest(samples):
    return samples[loudest_at(samples) :][:2400]


def find(part, whole):
    """Where ``part`` begins in ``whole``, both (n,) int16; the only place."""
    windows = np.lib.stride_tricks.sliding_window_view(whole, len(part))
    (at,) = np.nonzero((windows[:, ::40] == part[::40]).all(axis=1))[0]
    assert np.array_equal(whole[at : at + len(part)], part)
    return int(at)


def test_given_a_call_when_recorded_then_it_holds_exactly_what_was_said_and_heard_and_ends_before_the_channel(
    server, folders
):
    daemon = Daemon(server.path)
    alice, bob = call(daemon)
    speech = over_the_line(np.concatenate([clip("human_name_f"), silence(0.4)]), np.random.default_rng(1))
    other = over_the_line(np.concatenate([silence(0.2), clip("human_hello_f"), silence(2.0)]), np.random.default_rng(2))
    count = min(len(speech), len(other))
    daemon.send(wire.StartRecording("alice", "x/call.wav"))
    talk(alice, bob, speech[:count], other[:count])
    second = Daemon(server.path)  # the first daemon is replaced: the recording is none of its business
    (alice_now,) = [c for c in second.snapshot.channels if c.channel_id == "alice"]
    assert [(r.path, r.layout) for r in alice_now.recordings] == [("x/call.wav", Layout.STEREO)]
    second.send(wire.CloseChannel("alice"))
    second.expect(wire.ChannelClosed, channel_id="alice")
    (ended,) = [event for event in second.seen if isinstance(event, RecordingFinished)]

    samples, about = read(folders[1] / "x" / "call.wav")
    assert (ended.sha256, ended.error, ended.gaps) == (about["sha256"], "", 0)
    heard = alice.heard()
    assert find(loudest(heard), samples[:, 1]) % 160 == loudest_at(heard) % 160
    said = speech[:count].astype(np.int16).ravel()
    said = ulaw_to_linear(linear_to_ulaw(said))
    assert find(loudest(said), samples[:, 0]) % 160 == loudest_at(said) % 160
    second.close()
    daemon.close()
    alice.close()
    bob.close()


def test_given_a_server_that_is_drained_when_its_last_call_was_recorded_then_its_end_is_told_first(server):
    daemon = Daemon(server.path)
    phones = call(daemon)
    daemon.send(wire.StartRecording("alice", "last.wav"))
    for _ in range(5):
        phones[0].hear()
    server.process.send_signal(signal.SIGUSR1)
    daemon.expect(wire.MediaSnapshot, capacity=0)
    daemon.send(wire.CloseChannel("bob"), wire.CloseChannel("alice"))

    daemon.expect(wire.ChannelClosed, channel_id="alice")
    (ended,) = [event for event in daemon.seen if isinstance(event, RecordingFinished)]
    assert (ended.path, ended.error) == ("last.wav", "")
    assert daemon.at_end()
    server.process.communicate(timeout=LIMIT_S)
    assert server.process.returncode == 0
    daemon.close()
    for phone in phones:
        phone.close()


def test_given_a_consent_tone_when_recorded_then_both_sides_hear_it(server, folders):
    daemon = Daemon(server.path)
    alice, bob = call(daemon)
    daemon.send(wire.StartRecording("bob", "call.wav", consent_tone_s=10.0))
    talk(alice, bob, np.zeros((30, 160)), np.zeros((30, 160)))
    daemon.send(wire.StopRecording("bob"))
    daemon.expect(RecordingFinished, channel_id="bob")

    for heard in (alice.heard(), bob.heard(), read(folders[1] / "call.wav")[0][:, 1]):
        loud = np.nonzero(np.abs(heard.astype(int)) > 300)[0]
        burst = heard[loud[0] : loud[-1]].astype(float)
        spectrum = np.abs(np.fft.rfft(burst * np.hanning(len(burst)), 8000))
        assert abs(spectrum.argmax() - 1400) < 10
        assert 0.15 < len(burst) / 8000 < 0.21
    daemon.close()
    alice.close()
    bob.close()


def test_given_no_daemon_when_a_recording_ends_then_the_next_one_is_told(server, folders):
    daemon = Daemon(server.path)
    alice, bob = call(daemon)
    daemon.send(wire.StartRecording("alice", "call.wav", max_s=0.1))
    daemon.barrier()
    daemon.close()
    for _ in range(4):
        alice.hear()
    while not (folders[1] / "call.wav").exists():  # the server's packets are the clock
        alice.hear()
    for _ in range(50):  # the folder is flushed, too, before it is told
        alice.hear()
    second = Daemon(server.path)

    assert [(one.path, one.duration_s) for one in second.snapshot.recorded] == [("call.wav", 0.1)]
    second.close()
    third = Daemon(server.path)  # the second may have been killed before it wrote that down
    assert third.snapshot.recorded == second.snapshot.recorded
    third.close()
    alice.close()
    bob.close()


def test_given_a_killed_server_when_recording_then_the_writer_finishes_the_file(server, folders):
    daemon = Daemon(server.path)
    alice, bob = call(daemon)
    daemon.send(wire.StartRecording("alice", "call.wav"))
    talk(alice, bob, np.full((60, 160), 800), np.zeros((60, 160)))
    pid = server.process.pid
    (writer,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ended = os.pidfd_open(int(writer))
    server.kill()

    assert select.select([ended], [], [], LIMIT_S)[0]
    os.close(ended)
    samples, about = read(folders[1] / "call.wav")
    assert about["interrupted"] is True
    assert len(samples) >= 45 * 160
    daemon.close()
    alice.close()
    bob.close()


def test_given_a_stalled_writer_when_people_talk_then_no_packet_is_missing(server, folders):
    daemon = Daemon(server.path)
    alice, bob = call(daemon)
    daemon.send(wire.StartRecording("alice", "call.wav"))
    daemon.barrier()
    pid = server.process.pid
    (writer,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(int(writer), signal.SIGSTOP)
    try:
        talk(alice, bob, np.full((100, 160), 800), np.full((100, 160), -800))
        daemon.send(wire.CloseChannel("alice"))
        late = daemon.expect(RecordingFinished, channel_id="alice")
        daemon.expect(wire.ChannelClosed, channel_id="alice")
    finally:
        os.kill(int(writer), signal.SIGCONT)
    stamps = [int.from_bytes(packet[2:4], "big") for packet in bob.packets]

    assert "not taken it yet" in late.error
    assert all((b - a) & 0xFFFF == 1 for a, b in itertools.pairwise(stamps))
    assert server.stop() == 0  # which waits for the writer
    assert len(read(folders[1] / "call.wav")[0]) >= 100 * 160
    daemon.close()
    alice.close()
    bob.close()

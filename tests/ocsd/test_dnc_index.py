"""Sets of numbers and texts, and registry files: the same answers as a Python set, in memory and mapped."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ocsd.dnc import index, mapped
from ocsd.dnc.index import NEVER_ENDS, NumberIndex, TextIndex, hash_of, number_of, plain
from ocsd.dnc.mapped import BadRegistryFile, map_registries, map_registry, registry_path, write_registry
from ocsd.model.errors import ConfigError

# Dense places, their edges, and anything: runs of several numbers as well as lonely ones.
NUMBERS = st.one_of(
    st.integers(1, 10**15 - 1),
    st.integers(12_125_550_000, 12_125_550_200),
    st.sampled_from([1, 65_535, 65_536, 65_537, 131_071, 131_072, 999_999_999_999_999]),
)
SETS = st.lists(NUMBERS, max_size=300)


def array(numbers):
    return np.array(numbers, np.uint64)


@given(SETS, SETS)
@example([], [5])
def test_given_any_numbers_when_indexed_then_the_answers_are_those_of_a_set(numbers, others):
    truth, asked = set(numbers), sorted({*numbers, *others})

    built = NumberIndex.build(array(numbers))

    assert len(built) == len(truth)
    assert built.contains_many(array(asked)).tolist() == [number in truth for number in asked]
    assert built.until_many(array(asked)).tolist() == [NEVER_ENDS if number in truth else 0 for number in asked]
    assert [built.until(number) for number in asked] == [NEVER_ENDS if number in truth else 0 for number in asked]
    assert [int(number) for part in built.numbers() for number in part] == sorted(truth)


@given(st.lists(st.tuples(NUMBERS, st.one_of(st.integers(1, 2**31 - 1), st.just(NEVER_ENDS))), max_size=200), SETS)
def test_given_expiries_when_indexed_then_the_latest_of_a_number_holds(rows, others):
    truth: dict[int, int] = {}
    for number, until in rows:
        truth[number] = max(until, truth.get(number, 0))
    asked = sorted({*truth, *others})
    keys, untils = array([number for number, _ in rows]), np.array([until for _, until in rows], np.uint32)

    for built in (NumberIndex.build(keys, untils), TextIndex(keys, untils)):
        assert built.until_many(array(asked)).tolist() == [truth.get(number, 0) for number in asked]
        assert [built.until(number) for number in asked] == [truth.get(number, 0) for number in asked]


@settings(max_examples=25)
@given(SETS, SETS, st.integers(1, 50))
def test_given_any_numbers_when_written_and_mapped_then_they_are_the_same_in_chunks_of_any_size(
    tmp_path_factory, numbers, others, chunk
):
    path = tmp_path_factory.mktemp("dnc") / "registry.dnc"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "CHUNK", chunk)
        patch.setattr(mapped, "CHUNK", chunk)

        count = write_registry(path, array(numbers))
        registry = map_registry(path, 101)

        registry.verify()
        assert [int(number) for part in registry.index.numbers() for number in part] == sorted(set(numbers))
    asked = sorted({*numbers, *others})
    assert count == len(registry.index) == len(set(numbers))
    assert registry.index.contains_many(array(asked)).tolist() == [number in set(numbers) for number in asked]
    assert [bool(registry.index.until(number)) for number in asked] == [number in set(numbers) for number in asked]
    assert os.listdir(path.parent) == ["registry.dnc"]


def test_given_dense_numbers_when_indexed_then_one_costs_little_more_than_two_bytes():
    built = NumberIndex.build(np.arange(12_120_000_000, 12_121_000_000, 5, dtype=np.uint64))

    assert built.nbytes / len(built) < 2.01


@pytest.fixture
def registry_file(tmp_path):
    path = registry_path(tmp_path, None, "us")
    write_registry(path, array([12_125_550_123, 12_125_550_124, 442_079_460_018]), until=2_000_000_000)
    return path


def test_given_a_file_when_mapped_then_it_says_whose_it_is_and_until_when(registry_file):
    (registry,), problems = map_registries(registry_file.parents[2])

    assert problems == []
    assert (registry.name, registry.tenant_dbid, registry.until) == ("us", None, 2_000_000_000)
    assert registry.built_at > 1_700_000_000


def damaged(path: Path, at: int, by: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[at : at + len(by)] = by
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("at", "by", "what"),
    [
        (0, b"PK\3\4", "no registry file"),
        (8, b"\2", "format version 2"),
        (16, b"\7", "header is damaged"),
        (mapped.HEADER_BYTES, b"\xff", "directory is damaged"),
    ],
)
def test_given_a_foreign_or_damaged_file_when_mapped_then_it_is_refused(registry_file, at, by, what):
    damaged(registry_file, at, by)

    with pytest.raises(BadRegistryFile, match=f"us.dnc: .*{what}.*ocsd dnc import"):
        map_registry(registry_file, None)


@pytest.mark.parametrize("size", [0, 10, mapped.HEADER_BYTES, -1])
def test_given_a_truncated_file_when_mapped_then_it_is_refused(registry_file, size):
    data = registry_file.read_bytes()
    registry_file.write_bytes(data[:size])

    with pytest.raises(BadRegistryFile):
        map_registry(registry_file, None)


def test_given_damaged_numbers_when_verified_then_it_is_told(registry_file):
    damaged(registry_file, registry_file.stat().st_size - 1, b"\xff")

    with pytest.raises(BadRegistryFile, match="checksum"):
        map_registry(registry_file, None).verify()


def test_given_a_failing_write_when_a_registry_is_replaced_then_the_old_one_stays(registry_file, monkeypatch):
    def full_disk(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_registry(registry_file, array([1]))

    assert len(map_registry(registry_file, None).index) == 3
    assert os.listdir(registry_file.parent) == ["us.dnc"]


def test_given_mapped_registries_when_read_again_then_unchanged_ones_are_kept_and_bad_ones_stay_in_force(
    registry_file, tmp_path
):
    write_registry(registry_path(tmp_path, 101, "mine"), array([15]))
    before, _ = map_registries(tmp_path)
    mine, us = before
    write_registry(mine.path, array([15, 16]))
    us.path.unlink()
    us.path.write_bytes(b"nothing of the kind")  # a new file under the name: the mapping of the old one is untouched

    after, problems = map_registries(tmp_path, before)
    again, _ = map_registries(tmp_path, after)

    assert [len(registry.index) for registry in after] == [2, 3]
    assert after[1] is us
    assert len(problems) == 1
    assert "us.dnc" in problems[0]
    assert again[0] is after[0]


def test_given_a_folder_that_is_no_tenant_when_mapped_then_it_is_a_problem(tmp_path, registry_file):
    registry_file.parent.rename(tmp_path / "dnc" / "Everybody")

    registries, problems = map_registries(tmp_path)

    assert registries == ()
    assert "DBID" in problems[0]


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../up"])
def test_given_a_name_that_is_no_file_name_when_used_for_a_registry_then_it_is_refused(tmp_path, name):
    with pytest.raises(ConfigError):
        registry_path(tmp_path, None, name)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+12125550123", 12125550123),
        ("+999999999999999", 999999999999999),
        ("+9999999999999999", 0),
        ("12125550123", 0),
        ("+02125550123", 0),
        ("+", 0),
        ("", 0),
        ("+1212 5550123", 0),
        ("+١٢٣", 0),
        ("+²", 0),
    ],
)
def test_given_a_text_when_read_as_e164_then_only_plus_and_digits_are_a_number(text, number):
    assert number_of(text) == number


def test_given_texts_when_hashed_then_blanks_around_and_what_the_column_cannot_hold_do_not_count():
    assert hash_of(" C-17 ") == hash_of("C-17") != hash_of("c-17")
    assert hash_of("x" * 64 + "1") == hash_of("x" * 64)
    assert (plain(None), plain(" \0 "), plain("a\ud800")) == ("", "", "a?")

"""Registry files (``*.dnc``): a `NumberIndex` on disk, built once, then mapped into memory and shared by processes.

Little endian throughout:

    0     header, 4096 bytes: magic, version, sizes, checksums, times, then its own CRC-32 in the last four bytes
    4096  keys    uint64[containers]
          begins  int64[containers + 1]
          lows    uint16[numbers]

A file is written under a temporary name, flushed to disk and renamed, so under its own name it is always complete;
processes that have the old file mapped keep it until they map the new one. A file that is shorter or longer than its
header says, or whose header or directory (keys and begins) does not match its checksum, is refused. The checksum of the
numbers is verified on request only, as it reads the whole file.
"""

import mmap
import os
import struct
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from ocsd.dnc.index import CHUNK, LOW_MASK, NEVER_ENDS, U64, NumberIndex, containers
from ocsd.model.errors import ConfigError

SUFFIX: Final = ".dnc"
MAGIC: Final = b"OCSD-DNC"
VERSION: Final = 1
HEADER_BYTES: Final = 4096
_FIELDS: Final = struct.Struct("<8sIIQQqII")
_CRC: Final = struct.Struct("<I")
_PAGE_NUMBERS: Final = mmap.PAGESIZE // 2


class BadRegistryFile(ConfigError):
    """The file is no registry of ours, or damaged: build it again with ``ocsd dnc import``."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__([f"{path}: {what}; build it again with ocsd dnc import"])


@dataclass(frozen=True, slots=True)
class Registry:
    """
    A mapped registry file.

    Attributes:
        tenant_dbid: whose calls it forbids; None: every tenant's.
        until: Unix seconds at which the registry as a whole ends, or NEVER_ENDS.
        built_at: Unix seconds of the import.
        identity: device, inode, size and time of the file, to tell whether another one has taken its name.
    """

    name: str
    tenant_dbid: int | None
    path: Path
    index: NumberIndex
    until: int
    built_at: int
    identity: tuple[int, int, int, int]
    lows_crc: int

    def verify(self) -> None:
        """Read everything and compare with the checksum; BadRegistryFile when it differs."""
        crc = 0
        for start in range(0, len(self.index), CHUNK):
            crc = zlib.crc32(self.index.lows[start : start + CHUNK].data, crc)
        if crc != self.lows_crc:
            raise BadRegistryFile(self.path, "the numbers do not match their checksum")


def drop_repetitions(numbers: U64) -> U64:
    """The beginning of sorted ``numbers``, which is overwritten with the distinct ones: no second array."""
    kept = 0
    before: int | None = None
    for start in range(0, len(numbers), CHUNK):
        chunk = numbers[start : start + CHUNK]
        new = np.empty(len(chunk), np.bool_)
        new[0] = before is None or int(chunk[0]) != before
        np.not_equal(chunk[1:], chunk[:-1], out=new[1:])
        before = int(chunk[-1])
        distinct = chunk[new]
        numbers[kept : kept + len(distinct)] = distinct
        kept += len(distinct)
    return numbers[:kept]


def write_registry(
    path: Path, numbers: U64, *, until: int = NEVER_ENDS, progress: Callable[[int], object] = lambda _bytes: None
) -> int:
    """
    Write a registry file and return how many distinct numbers it holds.

    Args:
        numbers: in any order; sorted and overwritten in place, because there may be memory for one copy only.
        until: Unix seconds at which the registry ends, or NEVER_ENDS.
        progress: called with the bytes written so far.
    """
    numbers.sort()
    numbers = drop_repetitions(numbers)
    keys, begins = containers(numbers)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            file.write(bytes(HEADER_BYTES))
            file.write(keys.data)
            file.write(begins.data)
            lows_crc = 0
            for start in range(0, len(numbers), CHUNK):
                lows = (numbers[start : start + CHUNK] & LOW_MASK).astype("<u2")
                lows_crc = zlib.crc32(lows.data, lows_crc)
                file.write(lows.data)
                progress(file.tell())
            directory_crc = zlib.crc32(begins.data, zlib.crc32(keys.data))
            header = _FIELDS.pack(
                MAGIC, VERSION, until, len(numbers), len(keys), int(time.time()), directory_crc, lows_crc
            )
            header = header.ljust(HEADER_BYTES - _CRC.size, b"\0")
            file.seek(0)
            file.write(header + _CRC.pack(zlib.crc32(header)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
        _sync_folder(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)
    return len(numbers)


def remove_registry(path: Path) -> None:
    """Take a registry away; processes that have it mapped keep it until they read again."""
    path.unlink()
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Without this a new name may be gone after a power cut, though the file is on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def map_registry(path: Path, tenant_dbid: int | None) -> Registry:
    """Map a file; BadRegistryFile when it is none of ours, of another version, or damaged. OSError passes."""
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        header = file.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES or not header.startswith(MAGIC):
            raise BadRegistryFile(path, "no registry file of ocsd")
        body, (crc,) = header[: -_CRC.size], _CRC.unpack(header[-_CRC.size :])
        _magic, version, until, count, n_keys, built_at, directory_crc, lows_crc = _FIELDS.unpack_from(body)
        if version != VERSION:
            raise BadRegistryFile(path, f"format version {version}, this ocsd reads version {VERSION}")
        if zlib.crc32(body) != crc:
            raise BadRegistryFile(path, "the header is damaged")
        wanted = HEADER_BYTES + 8 * n_keys + 8 * (n_keys + 1) + 2 * count
        if stat.st_size != wanted:
            raise BadRegistryFile(path, f"{stat.st_size} bytes long instead of {wanted}")
        # The directory is small and looked at by every check: it is read, the numbers are mapped.
        keys = np.fromfile(file, "<u8", n_keys)
        begins = np.fromfile(file, "<i8", n_keys + 1)
        if zlib.crc32(begins.data, zlib.crc32(keys.data)) != directory_crc:
            raise BadRegistryFile(path, "the directory is damaged")
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        lows = np.frombuffer(mapping, "<u2", count, wanted - 2 * count)
    return Registry(
        name=path.name.removesuffix(SUFFIX),
        tenant_dbid=tenant_dbid,
        path=path,
        index=NumberIndex(keys, begins, lows),
        until=until,
        built_at=built_at,
        identity=(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns),
        lows_crc=lows_crc,
    )


def touch(registry: Registry) -> None:
    """Bring all pages into memory, so that the first checks do not wait for the disk."""
    lows = registry.index.lows
    for start in range(0, len(lows), CHUNK):
        lows[start : start + CHUNK : _PAGE_NUMBERS].max(initial=0)


def registry_path(folder: Path, tenant_dbid: int | None, name: str) -> Path:
    """``<folder>/dnc/<tenant DBID or all>/<name>.dnc``; ``folder`` is the daemon's data folder."""
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise ConfigError([f"{name!r} cannot be the name of a registry: it becomes a file name"])
    return folder / "dnc" / ("all" if tenant_dbid is None else str(tenant_dbid)) / f"{name}{SUFFIX}"


def map_registries(folder: Path, known: tuple[Registry, ...] = ()) -> tuple[tuple[Registry, ...], list[str]]:
    """
    All registries below ``folder``, and what was wrong with those that could not be read.

    A file that is the same as in ``known`` is not mapped again; one that is damaged stays in force as it was known.
    """
    mapped: list[Registry] = []
    problems: list[str] = []
    before = {registry.path: registry for registry in known}
    for path in sorted((folder / "dnc").glob(f"*/*{SUFFIX}")):
        tenant = path.parent.name
        if path.name.startswith("."):
            continue
        if tenant != "all" and not (tenant.isascii() and tenant.isdigit()):
            problems.append(f"{path}: the folder must be called all, or by a tenant's DBID")
            continue
        old = before.get(path)
        try:
            stat = path.stat()
            if old is not None and old.identity == (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns):
                mapped.append(old)
                continue
            registry = map_registry(path, None if tenant == "all" else int(tenant))
            touch(registry)
            mapped.append(registry)
        except FileNotFoundError:
            continue  # taken away between the two looks
        except (ConfigError, OSError) as error:
            problems.append(str(error))
            if old is not None:
                mapped.append(old)
    return tuple(mapped), problems

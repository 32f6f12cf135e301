# SPDX-License-Identifier: Apache-2.0
"""A file compressed in chunks: the seekable format of zstd, written and read.

::

    frame 0, frame 1, ...      zstd frames; each holds up to 1 MiB and a checksum of it (XXH64)
    0x184D2A5E                 U32  a skippable frame begins
    bytes behind this field    U32  8 * frames + 9
    frame sizes                U32, U32 for each frame: compressed, decompressed
    frames                     U32
    descriptor                 U8   0: the table has no checksums of its own
    0x8F92EAB1                 U32

All little-endian. ``zstd -d`` gives the whole file back, since it skips the table.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

CHUNK = 1 << 20
_SKIPPABLE, _SEEKABLE = 0x184D2A5E, 0x8F92EAB1
_FOOTER = struct.Struct("<IBI")
_ENTRY = struct.Struct("<II")
_HEAD = struct.Struct("<II")
# Zeros could take a 20,000th of their size; pruned and shared weights take some tenth.
_MOST_TIMES = 1000
_SMALL = 1 << 30


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError:
        raise ModuleNotFoundError(
            "models stored with zstd need the 'zstandard' package: pip install 'octavo[models]'"
        ) from None
    return zstandard


def _compressor() -> Any:
    """Return what makes a frame of a chunk.

    Codes hardly repeat: what counts is Huffman coding. Short matches only disturb it, and are
    avoided by asking for at least 7 bytes and looking at 64 places. Levels 3 to 15 made pruned and
    shared weights 10 to 18% larger than this, level 19 took 400 times as long for the same size.
    """
    zstandard = _zstandard()
    parameters = zstandard.ZstdCompressionParameters.from_level(
        1,
        strategy=zstandard.STRATEGY_FAST,
        min_match=7,
        hash_log=6,
        write_checksum=True,
        write_content_size=True,
    )
    return zstandard.ZstdCompressor(compression_params=parameters)


def compressed_size(data: Any) -> int:
    """Bytes that some data take when they are compressed."""
    compressor = _compressor()
    view = memoryview(data).cast("B")
    starts = range(0, len(view), CHUNK)
    return sum(len(compressor.compress(view[start : start + CHUNK])) for start in starts)


class FrameWriter:
    """Writes chunks of at most 1 MiB as frames, and the table behind them; the file stays open."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._compressor = _compressor()
        self._sizes: list[tuple[int, int]] = []

    def write(self, data: Any) -> None:
        """Write some bytes; what comes next begins a new frame."""
        view = memoryview(data).cast("B")
        for start in range(0, len(view), CHUNK):
            part = view[start : start + CHUNK]
            frame = self._compressor.compress(part)
            self._file.write(frame)
            self._sizes.append((len(frame), len(part)))

    def finish(self) -> None:
        """Write the table."""
        entries = b"".join(_ENTRY.pack(*sizes) for sizes in self._sizes)
        footer = _FOOTER.pack(len(self._sizes), 0, _SEEKABLE)
        self._file.write(_HEAD.pack(_SKIPPABLE, len(entries) + len(footer)) + entries + footer)


class _Frame(NamedTuple):
    """Where a frame lies in the file, and its content in the whole."""

    begin: int
    end: int
    start: int
    stop: int


def read_frames(path: Path, data: bytes, describe: Callable[[bytes, int, int], str]) -> bytearray:
    """Return the content of a file, each frame checked, frames side by side on several threads.

    ``describe(content so far, start, stop)`` says what lies in a range of the content; it is asked
    for messages, with the first frame's content.
    """
    zstandard = _zstandard()
    frames = _frames(path, data)
    content = bytearray(frames[-1].stop if frames else 0)
    view, source = memoryview(content), memoryview(data)

    def decode(index: int) -> None:
        frame = frames[index]
        try:
            # The frame's own claims are checked first: nothing is allocated on its word.
            part = source[frame.begin : frame.end]
            claimed = zstandard.get_frame_parameters(part)
            if not claimed.has_checksum:
                raise zstandard.ZstdError("no checksum")
            if claimed.content_size != frame.stop - frame.start:
                raise zstandard.ZstdError("another size than in the table")
            whole = zstandard.ZstdDecompressor().decompress(
                part, read_across_frames=False, allow_extra_data=False
            )
        except (zstandard.ZstdError, MemoryError) as error:
            what = "" if index == 0 else describe(bytes(content[: frames[0].stop]), *frame[2:])
            raise ValueError(f"{path}: chunk {index}{what} is corrupt: {error}") from None
        view[frame.start : frame.stop] = whole

    if frames:
        decode(0)
    workers = min(len(frames), os.cpu_count() or 1, 8)
    if workers > 1:
        with ThreadPoolExecutor(workers) as pool:
            for _ in pool.map(decode, range(1, len(frames))):
                pass
    else:
        for index in range(1, len(frames)):
            decode(index)
    view.release()
    return content


def _frames(path: Path, data: bytes) -> list[_Frame]:
    """Read the table behind the frames; sizes are checked against the file's and each other."""
    if len(data) < _HEAD.size + _FOOTER.size:
        _fail(path, f"{len(data)} bytes, too short")
    count, descriptor, magic = _FOOTER.unpack_from(data, len(data) - _FOOTER.size)
    if magic != _SEEKABLE:
        _fail(path, "no table of chunks at its end (truncated or corrupt)")
    if descriptor != 0:
        _fail(path, f"descriptor {descriptor}, expected 0")
    table = len(data) - _FOOTER.size - count * _ENTRY.size
    if table < _HEAD.size:
        _fail(path, f"a table of {count} chunks in {len(data)} bytes")
    begins, length = _HEAD.unpack_from(data, table - _HEAD.size)
    if begins != _SKIPPABLE or length != count * _ENTRY.size + _FOOTER.size:
        _fail(path, "the table of chunks does not begin where it should")
    frames = []
    begin = start = 0
    for index, (packed, plain) in enumerate(_ENTRY.iter_unpack(data[table : -_FOOTER.size])):
        if plain > CHUNK:
            _fail(path, f"chunk {index} of {plain} bytes, expected at most {CHUNK}")
        frames.append(_Frame(begin, begin + packed, start, start + plain))
        begin, start = begin + packed, start + plain
    if begin != table - _HEAD.size:
        _fail(path, f"chunks of {begin} bytes in {table - _HEAD.size}")
    if start > max(_SMALL, _MOST_TIMES * len(data)):
        _fail(path, f"{len(data)} bytes that claim to hold {start}")
    return frames


def _fail(path: Path, what: str) -> NoReturn:
    raise ValueError(f"{path}: not a valid zstd file of chunks: {what}")

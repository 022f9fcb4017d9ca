"""WAV through a pipe: read and written in order, without ever going back."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from ornstein.core.errors import InputError
from ornstein.datasets.audio import CHANNELS, Format

SUBTYPES = {
    (1, 8): "PCM_U8",
    (1, 16): "PCM_16",
    (1, 24): "PCM_24",
    (1, 32): "PCM_32",
    (3, 32): "FLOAT",
    (3, 64): "DOUBLE",
}
ENDLESS = 0xFFFFFFFF
"""What stands for a length that is not known."""


@dataclass(frozen=True)
class WavHeader:
    """What a WAV stream says before its samples.

    Args:
        format: of the samples.
        size: bytes of all samples, or `ENDLESS`.
    """

    format: Format
    size: int = ENDLESS

    @property
    def code(self) -> tuple[int, int]:
        """The format's tag and its bits a sample."""
        return next(code for code, name in SUBTYPES.items() if name == self.format.subtype)

    @property
    def frame(self) -> int:
        """Bytes of one sample of all channels."""
        return self.format.channels * self.code[1] // 8

    def encode(self) -> bytes:
        """The 44 bytes before the samples."""
        tag, bits = self.code
        whole = ENDLESS if self.size >= ENDLESS - 36 else self.size + 36
        rate = self.format.rate
        return struct.pack(
            "<4sI4s4sIHHIIHH4sI",
            *(
                b"RIFF",
                whole,
                b"WAVE",
                b"fmt ",
                16,
                tag,
                self.format.channels,
                rate,
                rate * self.frame,
                self.frame,
                bits,
            ),
            *(b"data", min(self.size, ENDLESS)),
        )


def read_header(stream: BinaryIO) -> WavHeader:
    """The header of a WAV stream, which stands at its samples afterwards.

    Raises:
        InputError: for what is no WAV, or one whose samples are compressed.
    """
    start = _exactly(stream, 12)
    if start[:4] != b"RIFF" or start[8:] != b"WAVE":
        raise InputError(
            "standard input: not a WAV stream", "only WAV goes through a pipe; name a file for other formats"
        )
    found = None
    while True:
        name, size = struct.unpack("<4sI", _exactly(stream, 8))
        if name == b"data":
            break
        body = _exactly(stream, size + size % 2)
        if name == b"fmt " and size >= 16:
            tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", body[:16])
            tag = struct.unpack("<H", body[24:26])[0] if tag == 0xFFFE and size >= 26 else tag
            found = (tag, bits), channels, rate
    if found is None or found[0] not in SUBTYPES or not 1 <= found[1] <= CHANNELS or not found[2]:
        raise InputError(f"standard input: WAV of the kind {found}", "send PCM of 8 to 32 bits, or floating point")
    return WavHeader(Format(found[2], found[1], SUBTYPES[found[0]]), size or ENDLESS)


def read_blocks(stream: BinaryIO, header: WavHeader, seconds: float = 0.5) -> Iterator[np.ndarray]:
    """The samples of a stream as they come: (channels, samples), float32, each block of at most so many seconds.

    Raises:
        InputError: where it ends before its length, or holds NaN.
    """
    left, size = header.size, max(1, round(seconds * header.format.rate)) * header.frame
    while left > 0 and (data := _at_most(stream, min(size, left))):
        left -= len(data)
        data = data[: len(data) - len(data) % header.frame]
        block = _decode(data, header)
        if not np.isfinite(block).all():
            raise InputError("standard input: holds NaN or infinite samples", "repair the sound")
        if block.shape[1]:
            yield block
    if left > 0 and header.size < ENDLESS:
        raise InputError(f"standard input: ends {left} bytes before its length", "was it cut off?")


def encode_block(block: np.ndarray, header: WavHeader) -> bytes:
    """(channels, samples), float32, as the bytes of the stream; integers end at full scale."""
    tag, bits = header.code
    samples = np.ascontiguousarray(block.T, np.float64)
    if tag == 3:
        return samples.astype(f"<f{bits // 8}").tobytes()
    whole = np.rint(samples * 2.0 ** (bits - 1)).clip(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).astype("<i8")
    if bits == 8:
        return (whole + 128).astype(np.uint8).tobytes()
    return whole.reshape(-1, 1).view(np.uint8)[:, : bits // 8].tobytes()


def _decode(data: bytes, header: WavHeader) -> np.ndarray:
    tag, bits = header.code
    if tag == 3:
        flat = np.frombuffer(data, f"<f{bits // 8}").astype(np.float32)
    elif bits == 8:
        flat = (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
    else:
        raw = np.zeros((len(data) // (bits // 8), 4), np.uint8)
        raw[:, 4 - bits // 8 :] = np.frombuffer(data, np.uint8).reshape(len(raw), -1)
        flat = (raw.view("<i4")[:, 0] / 2.0**31).astype(np.float32)
    return np.ascontiguousarray(flat.reshape(-1, header.format.channels).T)


def _at_most(stream: BinaryIO, size: int) -> bytes:
    """So many bytes, or what there is until the end."""
    parts = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = _at_most(stream, size)
    if len(data) < size:
        raise InputError("standard input: ends within its header", "only WAV goes through a pipe")
    return data

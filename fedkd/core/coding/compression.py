"""Entropy coding by the standard library, as raw streams without headers and checksums."""

import lzma
import zlib
from typing import Any, Literal

Compression = Literal["none", "zlib", "lzma"]
"""``zlib`` is DEFLATE (RFC 1951), ``lzma`` LZMA1."""

_RAW_DEFLATE = -15
_STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE)


def compress(data: bytes, method: Compression) -> bytes:
    """``data`` as a raw stream; DEFLATE by the strategy that makes it shortest."""
    if method == "lzma":
        return lzma.compress(data, format=lzma.FORMAT_RAW, filters=_filters(len(data)))
    return min((_deflate(data, strategy) for strategy in _STRATEGIES), key=len)


def expand(data: bytes, method: Compression, size: int) -> bytes:
    """The ``size`` bytes in a raw stream.

    Raises ``ValueError`` when it holds more, fewer or none, or does not end where ``data`` ends; no more than
    ``size`` + 1 bytes are ever made of it.
    """
    stream: Any
    if method == "lzma":
        stream = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=_filters(size))
    else:
        stream = zlib.decompressobj(_RAW_DEFLATE)
    try:
        expanded: bytes = stream.decompress(data, size + 1)
    except (zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"the {method} stream is damaged ({error})") from error
    if len(expanded) > size:
        raise ValueError(f"the {method} stream holds more than the {size} bytes expected")
    if not stream.eof:
        raise ValueError(f"the {method} stream breaks off")
    if stream.unused_data:
        raise ValueError(f"{len(stream.unused_data)} bytes follow the {method} stream")
    if len(expanded) < size:
        raise ValueError(f"the {method} stream holds {len(expanded)} bytes, {size} expected")
    return expanded


def _deflate(data: bytes, strategy: int) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, _RAW_DEFLATE, 9, strategy)
    return stream.compress(data) + stream.flush()


def _filters(size: int) -> list[dict[str, int]]:
    """One model for all literals (lc = lp = pb = 0), which learns fastest from few kilobytes of symbols."""
    window = min(max(size, 1 << 12), 1 << 24)
    return [
        {
            "id": lzma.FILTER_LZMA1,
            "preset": 9 | lzma.PRESET_EXTREME,
            "dict_size": window,
            "lc": 0,
            "lp": 0,
            "pb": 0,
        }
    ]

"""Codecs: how logits become bytes between clients and server, and what the bytes cost."""

from fedkd.core.coding.codec import LogitCodec
from fedkd.core.coding.history import CodeHistory
from fedkd.core.coding.types import Codes, Decoded, Encoded, Previous

__all__ = ["CodeHistory", "Codes", "Decoded", "Encoded", "LogitCodec", "Previous"]

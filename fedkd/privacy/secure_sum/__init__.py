"""Secure aggregation: the server learns the sum of the clients' vectors, and of a single one nothing else.

Bonawitz et al. 2017 (Practical secure aggregation for privacy-preserving machine learning, CCS; Figure 4, with the
steps against an active server): every vector is hidden by a mask for each pair of clients, which cancel in the sum, and
by a mask of its own. The secrets behind the masks are shared among all clients, so that the masks of those that drop
out can be taken off, and of no client both kinds. Nothing here knows of engines, models or configurations.
"""

from fedkd.privacy.secure_sum._errors import ProtocolError
from fedkd.privacy.secure_sum.client import ClientSession
from fedkd.privacy.secure_sum.entropy import Entropy, SeededEntropy, SystemEntropy
from fedkd.privacy.secure_sum.fixed_point import FixedPoint
from fedkd.privacy.secure_sum.identities import Directory, Identity
from fedkd.privacy.secure_sum.server import Dropout, SecureServer
from fedkd.privacy.secure_sum.terms import PHASES, Phase, Terms

__all__ = [
    "PHASES",
    "ClientSession",
    "Directory",
    "Dropout",
    "Entropy",
    "FixedPoint",
    "Identity",
    "Phase",
    "ProtocolError",
    "SecureServer",
    "SeededEntropy",
    "SystemEntropy",
    "Terms",
]

"""Privacy: what happens to a client's data before anything leaves it, what that proves, and how it adds up.

Noise is drawn from the experiment's seed and in floating point. That is right for measuring what privacy costs, and no
protection of anybody's data: who knows the seed can take the noise off.
"""

from fedkd.privacy._base import LogitMechanism, PrivateTraining
from fedkd.privacy._guarantee import Guarantee, Release, sensitivity_of_sum
from fedkd.privacy._private import Private
from fedkd.privacy._secure_noise import SecureNoise
from fedkd.privacy.accounting import DpEvent, GaussianEvent, composed_epsilon, gaussian_epsilon
from fedkd.privacy.ledger import PrivacyLedger
from fedkd.privacy.preview import preview, private_part

__all__ = [
    "DpEvent",
    "GaussianEvent",
    "Guarantee",
    "LogitMechanism",
    "PrivacyLedger",
    "Private",
    "PrivateTraining",
    "Release",
    "SecureNoise",
    "composed_epsilon",
    "gaussian_epsilon",
    "preview",
    "private_part",
    "sensitivity_of_sum",
]

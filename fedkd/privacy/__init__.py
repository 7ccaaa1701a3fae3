"""Privacy: what happens to a client's data before anything leaves it, what that proves, and how it adds up.

Noise comes from generators of at least 128 bits (``fedkd.privacy.noise``), of the experiment's seed unless
``privacy.entropy`` says otherwise: who knows the seed can take it off. ``docs/privacy.md`` says what floating point
costs.
"""

from fedkd.privacy.accounting import DpEvent, GaussianEvent, composed_epsilon, gaussian_epsilon
from fedkd.privacy.guarantee import Guarantee, Release, sensitivity_of_sum
from fedkd.privacy.ledger import PrivacyLedger
from fedkd.privacy.mechanism import LogitMechanism, PrivateTraining
from fedkd.privacy.preview import preview, private_part
from fedkd.privacy.private import Private
from fedkd.privacy.secure_noise import SecureNoise

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

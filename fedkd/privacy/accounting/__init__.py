"""Privacy accounting: from noise and counts to ε, and back."""

from fedkd.privacy.accounting._calibration import calibrated_noise_multiplier
from fedkd.privacy.accounting._compose import composed_epsilon, pld_epsilon, rdp_epsilon
from fedkd.privacy.accounting._events import DpEvent, GaussianEvent, repeated
from fedkd.privacy.accounting._gaussian import gaussian_delta, gaussian_epsilon, gaussian_noise_multiplier

__all__ = [
    "DpEvent",
    "GaussianEvent",
    "calibrated_noise_multiplier",
    "composed_epsilon",
    "gaussian_delta",
    "gaussian_epsilon",
    "gaussian_noise_multiplier",
    "pld_epsilon",
    "rdp_epsilon",
    "repeated",
]

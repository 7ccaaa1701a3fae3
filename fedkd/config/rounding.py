"""What shares come to in whole clients and samples."""

from decimal import ROUND_CEILING, Decimal

from fedkd.config.data_schema import PublicConfig
from fedkd.config.schema import ClientsConfig


def attacker_count(clients: ClientsConfig) -> int:
    """How many clients attack: the nearest whole number to share × count."""
    return int(clients.attackers.share * clients.count + 0.5)


def held_out_count(public: PublicConfig) -> int:
    """How many labelled samples validate: the nearest whole number to validation × labelled; one stays to train on."""
    return max(0, min(round(public.validation * public.labelled), public.labelled - 1))


def least_share(whole: int) -> str:
    """The share of so many that is half of one, to three digits and not below it."""
    half = Decimal(1) / (2 * whole)
    return f"{half.quantize(Decimal(1).scaleb(half.adjusted() - 2), rounding=ROUND_CEILING).normalize():f}"

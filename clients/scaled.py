"""An attacker that exaggerates, or says the opposite."""

from dataclasses import dataclass

from fedkd import ClientBehaviour, ClientContext, ClientRule, Upload
from fedkd.client.forging import forged


@dataclass(frozen=True)
class Scaled(ClientBehaviour):
    """Trains honestly, then multiplies its logits by ``factor``: z′ = factor·z.

    Above 1 it claims certainty it does not have, which rules teachers that average logits; below 0 it says the
    opposite. Logits beyond ±10⁴ are refused by the server, and the report with them.
    """

    factor: float = -10.0

    def respond(self, context: ClientContext, rule: ClientRule) -> Upload:
        return forged(rule.respond(context), lambda logits: logits * self.factor)

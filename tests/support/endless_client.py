"""A client that begins its work and never ends it."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from fedkd.client.behaviour import ClientBehaviour
from fedkd.client.context import ClientContext
from fedkd.client.rule import ClientRule


@dataclass(frozen=True)
class Endless(ClientBehaviour):
    """Touches ``mark`` when it is busy."""

    mark: str

    def respond(self, context: ClientContext, rule: ClientRule) -> NoReturn:
        Path(self.mark).touch()
        while True:
            time.sleep(3600)

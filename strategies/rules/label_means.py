"""Means per label, and no model on the server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from fedkd import StudentRule
from fedkd.core.errors import RunError
from fedkd.core.messages import INCLUDED, MEANS, SIZES, Arrays
from fedkd.experiment import Experiment
from fedkd.server.student_rule import RoundReports, ServerUpdate


@dataclass
class LabelMeans(StudentRule):
    """Averages what clients send per label, by their samples of that label, and sends the means back.

    The server's part of FedDistill (Jeong et al. 2018, arXiv 1811.11479) and FedProto (Tan et al. 2022, arXiv
    2105.00243): there is no student, and what counts is how well the clients' own models do.
    """

    needs: ClassVar[str] = "label_means"
    offers: ClassVar[frozenset[str]] = frozenset({"label_means", INCLUDED})
    teaches: ClassVar[bool] = False
    needs_examples: ClassVar[bool] = True

    _classes: int = field(init=False, repr=False)
    _means: Arrays = field(init=False, repr=False, default_factory=dict)
    _included: frozenset[int] = field(init=False, repr=False, default=frozenset())

    def begin(self, experiment: Experiment) -> None:
        self._classes = experiment.data.classes

    def broadcast(self) -> Arrays:
        return dict(self._means)

    def personal(self, client: int) -> Arrays:
        return {INCLUDED: np.ones(1, dtype=np.uint8)} if client in self._included else {}

    def update(self, received: RoundReports) -> ServerUpdate:
        width = received.reports[0].arrays[MEANS].shape[1]
        if any(report.arrays[MEANS].shape[1] != width for report in received.reports):
            raise RunError(f"{MEANS}: all clients must send {width} values per label; give their models one width")
        sums, total = np.zeros((self._classes, width)), np.zeros(self._classes, dtype=np.int64)
        for report in received.reports:
            sizes = report.arrays[SIZES].astype(np.int64)
            sums += report.arrays[MEANS].astype(np.float64) * sizes[:, np.newaxis]
            total += sizes
        means = (sums / np.maximum(total, 1)[:, np.newaxis]).astype(np.float32)
        self._means = {MEANS: means, SIZES: total}
        self._included = frozenset(report.client for report in received.reports)
        return ServerUpdate()

    def state_dict(self) -> dict[str, Any]:
        return {"means": dict(self._means), "included": sorted(self._included)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._means, self._included = dict(state["means"]), frozenset(state["included"])

"""Parameters instead of logits, as in federated averaging."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from fedkd import ClientContext, ClientRule, Upload
from fedkd.core.array_specs import ArraySpec
from fedkd.core.messages import parameter_prefix, state_arrays
from fedkd.experiment import Experiment


@dataclass(frozen=True)
class Parameters(ClientRule):
    """Trains the received model of its architecture and sends its parameters (McMahan et al. 2017, arXiv 1602.05629).

    With ``clients.proximal`` it is FedProx, with ``clients.keep_batch_norm=all`` FedBN: what is kept is not sent.
    Parameters disclose far more of the private data than logits do; of the mechanisms of ``privacy`` only dp_sgd covers
    them.
    """

    sends: ClassVar[str] = "parameters"
    only_trains: ClassVar[bool] = True

    @property
    def receives(self) -> frozenset[str]:
        return frozenset({"parameters"})

    def arrays(self, experiment: Experiment, client: int, examples: int) -> Mapping[str, ArraySpec]:
        architecture = experiment.architecture_of(client)
        prefix = parameter_prefix(architecture)
        return {prefix + name: spec for name, spec in experiment.parameter_specs(architecture).items()}

    def respond(self, context: ClientContext) -> Upload:
        model = context.train(context.received_model())
        architecture = context.experiment.architecture_of(context.client)
        prefix, sent = parameter_prefix(architecture), context.experiment.parameter_specs(architecture)
        arrays = {prefix + name: array for name, array in state_arrays(model.state_dict()).items() if name in sent}
        return Upload(arrays=arrays, model=model)

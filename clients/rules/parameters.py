"""Parameters instead of logits, as in federated averaging."""

from dataclasses import dataclass
from typing import ClassVar

from fedkd import ClientContext, ClientRule, Upload
from fedkd.core.messages import parameter_prefix, state_arrays


@dataclass(frozen=True)
class Parameters(ClientRule):
    """Trains the received model of its architecture and sends its parameters (McMahan et al. 2017, arXiv 1602.05629).

    With ``clients.proximal`` it is FedProx. Parameters disclose far more of the private data than logits do; of the
    mechanisms of ``privacy`` only dp_sgd covers them.
    """

    sends: ClassVar[str] = "parameters"
    only_trains: ClassVar[bool] = True

    @property
    def receives(self) -> frozenset[str]:
        return frozenset({"parameters"})

    def respond(self, context: ClientContext) -> Upload:
        model = context.train(context.received_model())
        prefix = parameter_prefix(context.experiment.architecture_of(context.client))
        arrays = {prefix + name: array for name, array in state_arrays(model.state_dict()).items()}
        return Upload(arrays=arrays, model=model)

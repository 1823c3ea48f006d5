"""The gradients of a step as one CUDA graph: kernels that are recorded once and launched together.

A GPU is done with a small network before Python has launched its kernels one by one
(docs/experiments.md, "Eleven thousand steps in eleven minutes").
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from openimagen.train.step import Noised

Work = Callable[[Noised], Float[Tensor, "b"]]  # back-propagates, returns the losses
Recorder = Callable[[Callable[[], Tensor]], tuple[Callable[[], object], Tensor]]
WARM_UPS = 3  # runs before the recording, in which libraries choose kernels and take memory


class GradientGraph:
    """Forward and backward pass of a network for inputs of one shape, that of the first call.

    It sets gradients, and adds to none that are there; what they take, and all that leads to them,
    stays taken. `record` is `recorded`, or does the same.
    """

    def __init__(self, net: nn.Module, record: Recorder | None = None) -> None:
        self.weights = [weight for weight in net.parameters() if weight.requires_grad]
        self._record = record or recorded
        self._inputs: list[Tensor] | None = None  # what the graph reads
        self._replay: Callable[[], object] | None = None
        self._losses = torch.empty(0)  # what it writes,
        self._gradients = list[Tensor | None]()  # and these

    def __call__(self, work: Work, noised: Noised) -> Float[Tensor, "b"]:
        """What `work(noised)` does and returns; ValueError if that cannot be recorded.

        `work` is the same each time. A last, smaller batch is worked as it is.
        """
        if self._inputs is None:
            self._begin(work, noised)
        assert self._inputs is not None
        new = noised.tensors()
        if self._replay is None or [t.shape for t in new] != [t.shape for t in self._inputs]:
            self._replay, self._losses, self._gradients = None, torch.empty(0), []  # room for it
            return work(noised)
        torch._foreach_copy_(self._inputs, new)
        self._replay()
        for weight, gradient in zip(self.weights, self._gradients, strict=True):
            weight.grad = gradient
        return self._losses.clone()

    def _begin(self, work: Work, noised: Noised) -> None:
        inputs = noised.map(torch.clone)

        def afresh() -> Tensor:
            for weight in self.weights:
                weight.grad = None
            return work(inputs)

        self._replay, self._losses = self._record(afresh)
        self._gradients = [weight.grad for weight in self.weights]
        self._inputs = inputs.tensors()


def recorded(work: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
    """Record `work`: a call that does it again, into the very tensors, and what it returned."""
    device = work().device  # compiles
    with torch.cuda.device(device), torch.cuda.stream(torch.cuda.current_stream()):  # comes back
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                work()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                made = work()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            why = str(error.__context__ or error).split("\n")[0]
            raise ValueError(
                f"no CUDA graph can be made of a step ({why}): use compile=false"
            ) from error
    return graph.replay, made

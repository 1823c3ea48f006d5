"""The gradients of a step as one CUDA graph: kernels that are recorded once and launched together.

A GPU is done with a small network before Python has launched its kernels one by one
(docs/experiments.md, "Eleven thousand steps in eleven minutes").
"""

import warnings
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

    It sets gradients, and adds to none that are there. `record` is `recorded`, or does the same.
    Where it fails, in capturing as in any other way, a warning says so, and steps are as without.
    """

    def __init__(self, net: nn.Module, record: Recorder | None = None) -> None:
        self.weights = [weight for weight in net.parameters() if weight.requires_grad]
        self._record = record or recorded
        self._inputs: Noised | None = None  # what the graph reads
        self._replay: Callable[[], object] | None = None
        self._losses: Tensor | None = None  # what it writes,
        self._gradients = list[Tensor | None]()  # and these

    def __call__(self, work: Work, noised: Noised) -> Float[Tensor, "b"]:
        """What `work(noised)` does and returns. A last, smaller batch is worked as it is."""
        if self._inputs is None:
            self._begin(work, noised)
        assert self._inputs is not None
        inputs, new = self._inputs.tensors(), noised.tensors()
        is_alike = [each.shape for each in inputs] == [each.shape for each in new]
        if self._replay is None or self._losses is None or not is_alike:
            return work(noised)
        torch._foreach_copy_(inputs, new)
        self._replay()
        for weight, gradient in zip(self.weights, self._gradients, strict=True):
            weight.grad = gradient
        return self._losses.clone()

    def _begin(self, work: Work, noised: Noised) -> None:
        inputs = self._inputs = noised.map(torch.clone)

        def afresh() -> Tensor:
            self._forget()
            return work(inputs)

        try:
            self._replay, self._losses = self._record(afresh)
            self._gradients = [weight.grad for weight in self.weights]
        except RuntimeError as error:
            why = str(error).split("\n")[0]
            warnings.warn(f"no CUDA graph, so steps are slower: {why}", RuntimeWarning, 2)
        self._forget()

    def _forget(self) -> None:
        for weight in self.weights:
            weight.grad = None


def recorded(work: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
    """Record `work`: a call that does it again, into the very tensors, and what it returned."""
    work()  # compiles
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        made = work()
    return graph.replay, made

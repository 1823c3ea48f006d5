"""Gradients from a recording are those of the step itself."""

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from torch import Tensor, nn

from openimagen.data.dataset import Batch, PictureSet, loader
from openimagen.text import CachedEncoder
from openimagen.train import loop
from openimagen.train.graph import GradientGraph, Recorder
from openimagen.train.loop import train_step
from openimagen.train.trainee import Trainee

NewTrainee = Callable[..., Trainee]
FULL, SIZES = 4, (4, 4, 4, 2)  # the last batch is smaller


@pytest.fixture
def batches(dataset: PictureSet) -> list[Batch]:
    return [*loader(dataset, 0, sum(SIZES), batch=FULL)]


def as_a_graph(weights: Sequence[nn.Parameter], runs: list[int]) -> Recorder:
    """Without a GPU: work is done again, and written into the very tensors of the first time."""

    def record(work: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        made = work()
        gradients = [weight.grad for weight in weights]

        def replay() -> None:
            runs.append(1)
            made.copy_(work())
            for gradient, weight in zip(gradients, weights, strict=True):
                if gradient is not None and weight.grad is not None:
                    gradient.copy_(weight.grad)
                weight.grad = None  # a graph leaves Python's objects alone

        return replay, made

    return record


def trained(trainee: Trainee, batches: Sequence[Batch], encoder: CachedEncoder) -> Iterator[Tensor]:
    """Figures of the steps, then the weights."""
    for batch in batches:
        yield torch.tensor(train_step(trainee, batch, encoder))
    yield from (weight.detach() for weight in trainee.net.parameters())
    yield trainee.watch.by_noise


def test_recorded_steps_are_the_steps(
    new_trainee: NewTrainee, batches: list[Batch], encoder: CachedEncoder
) -> None:
    def begun() -> Trainee:
        return new_trainee(images=sum(SIZES), batch=FULL, pool_drop=0.3)

    by_itself, recorded, runs = begun(), begun(), list[int]()
    recorded.graph = GradientGraph(recorded.net, as_a_graph([*recorded.net.parameters()], runs))

    pairs = zip(
        trained(by_itself, batches, encoder), trained(recorded, batches, encoder), strict=True
    )

    assert all(torch.equal(one, other) for one, other in pairs)
    assert len(runs) == SIZES.count(FULL)


def test_what_cannot_be_recorded_is_told_and_trained(
    new_trainee: NewTrainee, batches: list[Batch], encoder: CachedEncoder
) -> None:
    def refuse(work: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        work()
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    by_itself, refused = (new_trainee(images=sum(SIZES), batch=FULL) for _ in range(2))
    refused.graph = GradientGraph(refused.net, refuse)

    with pytest.warns(RuntimeWarning, match="no CUDA graph.*: operation not permitted$"):
        others = [*trained(refused, batches, encoder)]

    assert all(map(torch.equal, trained(by_itself, batches, encoder), others))


@pytest.mark.parametrize(
    ("device", "settings", "is_recorded"),
    [
        ("cuda", {"compile": True}, True),
        ("cuda", {}, False),
        ("cuda", {"compile": True, "accumulate": 2}, False),
        ("cuda", {"compile": True, "checkpoint_activations": True}, False),
        ("cpu", {"compile": True}, False),
    ],
)
def test_one_batch_through_a_compiled_network_on_a_gpu_is_recorded(
    new_trainee: NewTrainee, device: str, settings: dict[str, object], is_recorded: bool
) -> None:
    trainee = new_trainee(**settings)
    trainee.device = torch.device(device)

    assert trainee.is_recorded == is_recorded


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a CUDA graph needs a GPU")
def test_a_cuda_graph_has_the_gradients_of_the_step(
    new_trainee: NewTrainee, batches: list[Batch], encoder: CachedEncoder
) -> None:
    trainee = new_trainee(images=sum(SIZES), batch=FULL)
    trainee.device, trainee.net = torch.device("cuda"), trainee.net.cuda()
    graph = GradientGraph(trainee.net)
    for batch in batches[:2]:
        text = encoder(batch.captions).to("cuda")
        share = trainee.next_batch()
        noised = loop.prepare(trainee.config, trainee.train, batch.image, text, 1, share)
        found = list[list[Tensor]]()
        for by in (graph, lambda work, noised: work(noised)):
            losses = by(lambda noised: loop.back_propagate(trainee, 0.25, noised), noised)
            found.append(
                [losses, *(w.grad for w in trainee.net.parameters() if w.grad is not None)]
            )
            trainee.net.zero_grad(set_to_none=True)
        torch.testing.assert_close(*found)

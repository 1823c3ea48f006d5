"""Gradients from a recording are those of the step itself."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from torch import Tensor, nn

from openimagen.data.dataset import Batch, PictureSet, loader
from openimagen.text import CachedEncoder
from openimagen.train.graph import GradientGraph, Recorder, recorded
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


# --- on a GPU -------------------------------------------------------------------------------------

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="a CUDA graph needs a GPU")


@on_gpu
def test_a_run_with_a_cuda_graph_is_the_run_without(
    new_trainee: NewTrainee, batches: list[Batch], encoder: CachedEncoder
) -> None:
    settings = {"compile": True, "precision": "bfloat16", "optimizer": "muon"}
    figures = list[list[Tensor]]()
    for is_recorded in (True, False):
        made = new_trainee(images=sum(SIZES), batch=FULL, **settings)
        trainee = dataclasses.replace(made, device=torch.device("cuda"))
        assert trainee.graph is not None
        trainee.graph = trainee.graph if is_recorded else None
        figures.append([torch.tensor(train_step(trainee, batch, encoder)) for batch in batches])

    torch.testing.assert_close(*figures, rtol=0.02, atol=0.0)


@on_gpu
def test_what_cannot_be_recorded_is_refused_and_the_stream_is_as_before() -> None:
    there = torch.ones(3, device="cuda")

    with pytest.raises(ValueError, match=r"no CUDA graph of a step .*: use compile=false"):
        recorded(lambda: there * there.sum().item())

    assert torch.cuda.current_stream() == torch.cuda.default_stream()

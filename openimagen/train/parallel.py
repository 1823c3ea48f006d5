"""One run in many processes: the ranks that torchrun started share each batch, and the weights.

All of it is applied to a network from outside. Without torchrun there is one rank, and every
function here does nothing or next to nothing.
"""

import gc
import math
import os
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from openimagen.blocks import Attention, ResBlock
from openimagen.config import LoRA, TrainConfig
from openimagen.device import find_device
from openimagen.train.lora import adapt
from openimagen.unet import UNet

PATIENCE = timedelta(hours=1)  # of ranks that wait: for a preview, for pictures to be decoded
P = ParamSpec("P")
T = TypeVar("T")


# --- ranks ----------------------------------------------------------------------------------------


def rank() -> int:
    """Number of this process among those of the run."""
    return int(os.environ.get("RANK", 0))


def ranks() -> int:
    """How many processes the run has."""
    return int(os.environ.get("WORLD_SIZE", 1))


def local_ranks() -> int:
    """How many of them this machine has."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def is_first() -> bool:
    """Whether this is the rank that speaks and writes for all."""
    return rank() == 0


@contextmanager
def joined(device: str | None) -> Iterator[torch.device]:
    """Meet the other ranks, if there are any; yields the device of this one.

    ValueError if it cannot be used: every rank of a machine needs a GPU of its own, or the CPU.
    """
    where = find_device(device)
    if ranks() == 1:
        yield where
        return
    if where.type not in ("cpu", "cuda"):
        raise ValueError(f"several processes cannot share {where}: add --device cpu")
    if where.type == "cuda":
        if _local_rank() >= (gpus := torch.cuda.device_count()):
            raise ValueError(f"a GPU for each process: start {gpus} of them on this machine")
        where = find_device(f"cuda:{_local_rank()}")
        torch.cuda.set_device(where)
    backend = "cpu:gloo,cuda:nccl" if where.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield where
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # they hold networks, as what is below says
        raise
    finally:
        gc.collect()  # the last network would take the group along, and wait for its threads for
        dist.destroy_process_group()  # ever: with the interpreter's lock, which they wait for


def part_of(batch: range) -> range:
    """This rank's part of a batch, as `tensor_split` cuts it. ValueError if it comes away empty."""
    if len(batch) < ranks():
        raise ValueError(
            f"a batch of {len(batch)} cannot be split over {ranks()} processes: use fewer, "
            "a larger batch, or a number of images that is a multiple of the batch"
        )
    size, extra = divmod(len(batch), ranks())
    start = rank() * size + min(rank(), extra)
    return batch[start : start + size + (rank() < extra)]


def check_split(train: TrainConfig) -> None:
    """Refuse a plan in which a batch, the last of the run above all, is too small to be shared."""
    part_of(range(min(train.batch, train.images)))
    part_of(range(train.images % train.batch or train.batch))


def _local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", 0))


# --- what they tell each other --------------------------------------------------------------------


def summed(values: Tensor) -> Tensor:
    """The sum over all ranks."""
    if ranks() > 1:
        dist.all_reduce(values)
    return values


def any_rank(flag: bool) -> bool:
    """Whether it is so on any rank."""
    return bool(summed(torch.tensor(int(flag))).item())


def everyone(value: T) -> list[T]:
    """What each rank has to say."""
    values = [value] * ranks()
    if ranks() > 1:
        dist.all_gather_object(values, value)
    return values


def on_first(act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What the first rank gets by doing it alone, once all have come this far.

    An error there is an error everywhere.
    """
    if ranks() == 1:
        return act(*args, **kwargs)
    any_rank(False)
    outcome: list[tuple[T | None, Exception | None]] = [(None, None)]
    if is_first():
        try:
            outcome = [(act(*args, **kwargs), None)]
        except Exception as error:
            outcome = [(None, error)]
    dist.broadcast_object_list(outcome, device=torch.device("cpu"))
    value, failure = outcome[0]
    if failure is not None:
        raise failure
    return value  # type: ignore[return-value]  # None only where `act` gives it


@contextmanager
def machine_by_machine() -> Iterator[None]:
    """The first rank of each machine goes ahead; the others find what it has made."""
    if _local_rank():
        any_rank(False)
    yield
    if not _local_rank():
        any_rank(False)


# --- a network over ranks -------------------------------------------------------------------------


def spread(net: UNet, train: TrainConfig) -> nn.Module:
    """Prepare a network for training as the plan has it; returns what a step calls for it.

    Its weights stay those of `net`. Over several ranks each has them all and gradients are averaged
    (DDP), or each has its shard of weights, gradients and the optimiser's state (FSDP2).
    """
    blocks = blocks_of(net)
    if train.checkpoint_activations:
        for block in blocks:
            again = partial(checkpoint, block.forward, use_reentrant=False)
            block.forward = again
    if train.compile:
        for module in blocks if is_sharded(train) else [net]:
            module.compile()
    if is_sharded(train):
        return shard(net, train.precision == "bfloat16")
    return DistributedDataParallel(net, gradient_as_bucket_view=True) if ranks() > 1 else net


def blocks_of(net: UNet) -> list[nn.Module]:
    """The parts that are computed again, or compiled, one by one."""
    return [module for module in net.modules() if isinstance(module, ResBlock | Attention)]


def is_sharded(train: TrainConfig) -> bool:
    """Whether each rank has a part of the weights only."""
    return train.parallel == "fsdp" and ranks() > 1


def shard(net: UNet, is_bf16: bool = False) -> UNet:
    """Leave each rank its rows of the weights; a block's are gathered when it is called.

    In bfloat16 that is what travels and is multiplied with; gradients are summed in float32.
    """
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* view")  # nobody writes into it
    policy = MixedPrecisionPolicy(cast_forward_inputs=False)  # autocast's; log-SNRs stay float32
    if is_bf16:
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    mesh = init_device_mesh(next(net.parameters()).device.type, (ranks(),))
    net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # rows
    for module in [*net.modules()]:
        if isinstance(module, ResBlock):  # where the weights are; attention is read and called
            fully_shard(module, mesh=mesh, mp_policy=policy)
    fully_shard(net, mesh=mesh, mp_policy=policy)
    return net


def gathered(net: UNet, lora: LoRA | None = None) -> UNet | None:
    """The network whole, on the first rank; None on the others. All have to call it.

    `lora`: the adapters that it has.
    """
    if not isinstance(net, FSDPModule):
        return net if is_first() else None
    whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = get_model_state_dict(net, options=whole)
    if not is_first():
        return None
    device = next(net.parameters()).device
    with torch.device("meta"):
        copy = UNet(net.config)
        if lora is not None:
            adapt(copy, lora)
    copy.load_state_dict(weights, assign=True)
    return copy.to(device).eval().requires_grad_(False)


@contextmanager
def exchanging(model: nn.Module, is_last: bool) -> Iterator[None]:
    """Have the ranks exchange gradients in the last part of a batch, and in no other."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(is_last)
    if isinstance(model, DistributedDataParallel) and not is_last:
        with model.no_sync():
            yield
    else:
        yield


def clip(net: nn.Module, most: float | None) -> Tensor:
    """Shorten the gradient to the norm `most`; returns the norm it had, over all ranks."""
    gradients = [weight.grad for weight in net.parameters() if weight.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    nn.utils.clip_grads_with_norm_(net.parameters(), most or math.inf, norm)
    return norm

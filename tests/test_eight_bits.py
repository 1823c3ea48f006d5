"""Weights in eight bits are near what they were, in the shape and by the names they had."""

import torch

from openimagen.eight_bits import pack, unpack


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_large_weights_come_back_within_half_a_step_of_their_row() -> None:
    kernel = normal(64, 32, 3, 3) * torch.logspace(-6, 3, 64)[:, None, None, None]
    stored = pack({"kernel": kernel})
    assert stored["kernel"].dtype == torch.int8 and stored["kernel"].shape == kernel.shape
    (name,) = (loaded := unpack(stored))
    assert name == "kernel" and loaded[name].dtype == torch.float32
    steps = kernel.abs().amax((1, 2, 3)) / 127
    error = (loaded[name] - kernel).abs().amax((1, 2, 3))
    assert (error <= 0.501 * steps).all() and (error > 0.3 * steps).all()


def test_packing_again_changes_nothing() -> None:
    once = unpack(pack({"a": normal(80, 80), "b": normal(7)}))
    twice = unpack(pack(once))
    assert all(torch.equal(once[name], twice[name]) for name in once)


def test_small_ones_vectors_and_single_rows_are_bfloat16() -> None:
    state = {"bias": normal(9000), "small": normal(8, 8), "position": normal(1, 8, 32, 32)}
    stored = pack(state)
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    for name, weight in unpack(stored).items():
        assert torch.equal(weight, state[name].bfloat16().float())


def test_rows_of_nothing_stay_nothing() -> None:
    assert unpack(pack({"w": torch.zeros(64, 64)}))["w"].eq(0).all()


def test_what_is_no_number_is_kept_as_such() -> None:
    broken = normal(64, 64)
    broken[3, 3] = torch.nan
    assert unpack(pack({"w": broken}))["w"].isnan().sum() == 1


def test_other_weights_are_read_as_they_are() -> None:
    state = {"w": normal(64, 64), "h": normal(64, 64).half()}
    assert all(torch.equal(weight, state[name].float()) for name, weight in unpack(state).items())

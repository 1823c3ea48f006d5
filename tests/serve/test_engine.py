"""The engine draws what `Imagen` draws, for many at once, and survives what they do."""

import asyncio
import threading
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from PIL import Image
from stories import endings, same, story, told

from openimagen.cascade import Cascade
from openimagen.door import Door, Refused, Safety
from openimagen.imagen import Imagen
from openimagen.serve import engine as engine_module
from openimagen.serve.engine import Engine
from openimagen.serve.orders import Busy, Event, Finished, Order, Preview, Queued, Source
from openimagen.serve.ticket import Ticket

PLAIN = Safety(watermark=False, credentials=False, picture_filter=False)


@pytest.fixture
def imagen(tiny: Cascade) -> Imagen:
    return Imagen(tiny, PLAIN)


@pytest.fixture
def engine(imagen: Imagen) -> Iterator[Engine]:
    engine = Engine([imagen])
    engine.start()
    yield engine
    engine.stop()


class Hold:
    """Keeps workers from going on after a network call, until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.go = threading.Event(), threading.Event()
        self.calls = 0
        advance = engine_module.advance

        def held(cascade, drawings, on_step):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            def step(progress):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
                self.calls += 1
                self.reached.set()
                assert self.go.wait(30)
                on_step(progress)

            return advance(cascade, drawings, step)

        monkeypatch.setattr(engine_module, "advance", held)


# --- pictures -------------------------------------------------------------------------------------


def test_the_engine_draws_what_imagen_draws(engine: Engine, imagen: Imagen) -> None:
    orders = [
        Order("a red fox", 7),
        Order("a red fox", 8, size=32, steps=(4, 2), guidance=(2.0,), sampler="ddim"),
        Order("sailboat", 7, negative="grey"),
    ]
    (events,) = told(engine.submit(orders))
    expected = [
        imagen("a red fox", seed=7)[0],
        imagen(
            "a red fox",
            seed=8,
            size=32,
            num_inference_steps=[4, 2],
            guidance_scale=2.0,
            sampler="ddim",
        )[0],
        imagen("sailboat", seed=7, negative_prompt="grey")[0],
    ]
    ends = endings(events)
    assert all(same(ends[number], picture) for number, picture in enumerate(expected))
    assert engine.state().ends == {"finished": 3}


def test_edits_and_raised_pictures_are_those_of_imagen(engine: Engine, imagen: Imagen) -> None:
    picture = Image.effect_noise((48, 32), 90).convert("RGB")
    mask = Image.new("L", (48, 32), 0)
    mask.paste(255, (0, 0, 20, 20))
    small = picture.resize((15, 10))
    orders = [
        Order("fox", 1, source=Source(picture, mask)),
        Order("fox", 1, source=Source(picture, strength=0.4)),
        Order("", 1, source=Source(small, task="upscale")),
    ]
    (events,) = told(engine.submit(orders))
    ends = endings(events)
    assert same(ends[0], imagen.edit(picture, "fox", mask=mask, seed=1)[0])
    assert same(ends[1], imagen.edit(picture, "fox", strength=0.4, seed=1)[0])
    assert same(ends[2], imagen.upscale(small, seed=1)[0])


def test_company_is_kept_and_changes_no_picture(imagen: Imagen) -> None:
    engine = Engine([imagen], batch=4)
    orders = [Order(f"thing {number}", number) for number in range(6)]
    ticket = engine.submit(orders)
    engine.start()
    (events,) = told(ticket)
    assert engine.state().batches == {4: 3, 2: 3}  # three stages each
    engine.stop()
    for number, image in endings(events).items():
        assert isinstance(image, Image.Image)
        alone = imagen(f"thing {number}", seed=number)[0]
        levels = [abs(a - b) for a, b in zip(image.tobytes(), alone.tobytes(), strict=True)]
        assert max(levels) <= 1 and sum(levels) < 0.01 * len(levels)


def test_two_workers_share_the_line(tiny: Cascade, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine([Imagen(tiny, PLAIN), Imagen(tiny, PLAIN)])
    hold = Hold(monkeypatch)
    ticket = engine.submit([Order("fox", number, size=16) for number in range(5)])
    engine.start()
    assert hold.reached.wait(30)
    until = time.monotonic() + 30
    while engine.state().running < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert engine.state().running == 2
    hold.go.set()
    assert len(endings(told(ticket)[0])) == 5
    engine.stop()


# --- what a client sees meanwhile -----------------------------------------------------------------


@pytest.mark.parametrize(("partials", "expected"), [(0, 0), (1, 1), (3, 3), (8, 8), (99, 8)])
def test_previews_are_spread_over_the_calls(engine: Engine, partials: int, expected: int) -> None:
    """Three calls a stage, nine in all; the last one's is the picture itself."""
    (events,) = told(engine.submit([Order("fox", 0, partials=partials)]))
    previews = [event for event in events if isinstance(event, Preview)]
    assert [preview.index for preview in previews] == [*range(expected)]
    places = [("base", "sr32", "sr64").index(p.stage) * 3 + p.call for p in previews]
    assert all(a < b for a, b in pairwise(places)) and all(1 <= place < 9 for place in places)
    gaps = [b - a for a, b in pairwise([0, *places])]
    assert not gaps or max(gaps) - min(gaps) <= 1
    for preview in previews:
        side = {"base": 16, "sr32": 32, "sr64": 64}[preview.stage]
        assert preview.image.size == (side, side) and preview.calls == 3


def test_a_preview_that_fails_is_logged_and_the_picture_comes(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    let_out = Door.let_out

    def fails(door: Door, pictures: dict[str, Image.Image], seed: int, *cut_out: bool) -> object:
        if not cut_out:  # which a picture that is done says
            raise RuntimeError("no preview today")
        return let_out(door, pictures, seed, *cut_out)

    monkeypatch.setattr(Door, "let_out", fails)
    (events,) = told(engine.submit([Order("fox", 0, partials=2)]))
    assert not [event for event in events if isinstance(event, Preview)]
    assert isinstance(events[-1], Finished)
    assert caplog.text.count("a preview could not be shown") == 2


def test_one_who_is_alone_is_told_of_nobody_before(engine: Engine) -> None:
    (events,) = told(engine.submit([Order("fox", number) for number in range(3)]))
    assert [event for event in events if isinstance(event, Queued)] == [Queued(0)]


def test_how_long_one_waits_is_learnt_from_what_was_drawn(engine: Engine) -> None:
    """The time that is foretold for a picture is what its like took."""
    began = time.monotonic()
    told(engine.submit([Order("fox", 0)]))
    took = time.monotonic() - began
    assert set(engine._line.pace) == {0, 1, 2} and min(engine._line.pace.values()) > 0
    like = engine_module.job_of(engine.imagen.cascade, Order("fox", 1), 0, Ticket(1, int), "", 1e9)
    assert 0 < engine._line.seconds(like) <= took * 1.01


def test_who_waits_is_told_its_place(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = Hold(monkeypatch)
    first = engine.submit([Order("fox", 0, size=16)], "a")
    assert hold.reached.wait(30)
    second = engine.submit([Order("fox", 1, size=16)], "b")
    third = engine.submit([Order("fox", 2, size=16)], "c")
    hold.go.set()
    stories = told(first, second, third)
    places = [[e.position for e in events if isinstance(e, Queued)] for events in stories]
    assert places == [[0], [1, 0], [2, 1, 0]]


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (Order("fox", -1), "a seed must be"),
        (Order("fox", 0, size=48), "size 48 is no stage"),
        (Order("fox", 0, steps=(0,)), "steps 0"),
        (Order("fox", 0, steps=(1, 2, 3, 4)), "steps: 4 values for 3 stages"),
        (Order("fox", 0, sampler="euler"), "sampler euler"),
        (Order("", 0, source=Source(Image.new("RGB", (64, 64)), task="upscale")), "64 already"),
    ],
)
def test_a_wrong_order_is_refused_before_any_work(
    engine: Engine, order: Order, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        engine.submit([Order("fox", 0), order])
    assert engine.state().ends == {} and engine.state().waiting == 0


def test_a_refused_prompt_takes_nothing_with_it(engine: Engine) -> None:
    with pytest.raises(Refused) as refusal:
        engine.submit([Order("fox", 0), Order("a nude woman", 0)])
    assert refusal.value.finding.category == "sexual"
    assert engine.state().waiting == 0


def test_a_negative_prompt_that_would_be_drawn_is_refused(engine: Engine) -> None:
    with pytest.raises(Refused, match="A guidance below 1 draws the negative") as refusal:
        engine.submit([Order("fox", 0, guidance=(0.0,), negative="a nude woman")])
    assert refusal.value.finding.where == "negative_prompt"
    assert engine.state().waiting == 0
    engine.submit([Order("fox", 0, negative="a nude woman")])  # is steered away from
    state = engine.state()
    assert state.waiting + state.running == 1


def test_the_line_is_bounded(imagen: Imagen) -> None:
    engine = Engine([imagen], limit=3)
    engine.submit([Order("fox", 0)] * 2)
    with pytest.raises(Busy) as refusal:
        engine.submit([Order("fox", 0)] * 2)
    assert refusal.value.retry_after >= 1
    engine.submit([Order("fox", 0)])
    assert engine.state().waiting == 3


def test_one_key_cannot_hold_the_whole_line(imagen: Imagen) -> None:
    """However much work it asks for; how long it takes is told by the work."""
    engine = Engine([imagen], limit=8, shares=True)
    engine.submit([Order("fox", number, steps=(256,)) for number in range(4)], "ann")
    with pytest.raises(Busy, match="4 of your pictures") as refusal:
        engine.submit([Order("fox", 0)], "ann")
    assert refusal.value.retry_after > 60  # 768 calls, at a pace that is not known yet
    engine.submit([Order("fox", 0)], "bob")


# --- clients that leave, time that is up ----------------------------------------------------------


def test_a_client_that_leaves_frees_the_device_within_a_call(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = Hold(monkeypatch)
    ticket = engine.submit([Order("fox", number, steps=(8,)) for number in range(3)])
    assert hold.reached.wait(30)
    ticket.cancel()
    hold.go.set()
    assert told(ticket) == [[]]
    until = time.monotonic() + 30
    while engine.state().running + engine.state().waiting and time.monotonic() < until:
        time.sleep(0.01)
    state = engine.state()
    assert state.ends == {"dropped": 3} and state.running == state.waiting == 0
    assert hold.calls == 1  # of 72


def test_who_stays_is_drawn_though_company_left(
    imagen: Imagen, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine([imagen], batch=4)
    hold = Hold(monkeypatch)
    leaves, stays = engine.submit([Order("owl", 3)], "a"), engine.submit([Order("fox", 4)], "b")
    engine.start()
    assert hold.reached.wait(30)
    leaves.cancel()
    hold.go.set()
    assert isinstance(endings(told(stays)[0])[0], Image.Image)
    engine.stop()
    assert engine.state().ends == {"dropped": 1, "finished": 1}


def test_an_order_whose_time_is_up_is_told_so(imagen: Imagen) -> None:
    engine = Engine([imagen], deadline=0.0)
    ticket = engine.submit([Order("fox", 0), Order("fox", 1)])
    engine.start()
    (events,) = told(ticket)
    engine.stop()
    assert endings(events) == {0: engine_module.LATE, 1: engine_module.LATE}
    assert all(isinstance(event, Queued) or event.retry_after == 1 for event in events)
    assert engine.state().ends == {"late": 2}


# --- failures -------------------------------------------------------------------------------------


def test_only_the_order_at_fault_fails(imagen: Imagen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is drawn together with a faulty order gets the picture that it gets alone."""
    advance = engine_module.advance

    def poisoned(cascade, drawings, on_step):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        if any("poison" in drawing.prompt for drawing in drawings):
            raise RuntimeError("out of memory")
        return advance(cascade, drawings, on_step)

    monkeypatch.setattr(engine_module, "advance", poisoned)
    engine = Engine([imagen], batch=8)
    ticket = engine.submit([Order("fox", 0), Order("poison", 1), Order("owl", 2)])
    engine.start()
    ends = endings(told(ticket)[0])
    assert ends[1] == engine_module.BROKEN
    assert same(ends[0], imagen("fox", seed=0)[0]) and same(ends[2], imagen("owl", seed=2)[0])
    after = endings(told(engine.submit([Order("fox", 0)]))[0])  # the worker lives on
    assert same(after[0], imagen("fox", seed=0)[0])
    engine.stop()
    assert engine.state().ends == {"finished": 3, "failed": 1}


def test_numbers_that_are_not_finite_are_no_picture(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = engine_module.advance

    def broken(cascade, drawings, on_step):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        advance(cascade, drawings, on_step)
        drawings[0].image = torch.full((3, 16, 16), torch.nan)

    monkeypatch.setattr(engine_module, "advance", broken)
    ends = endings(told(engine.submit([Order("fox", 0, size=16)]))[0])
    assert ends == {0: engine_module.BROKEN} and engine.state().ends == {"failed": 1}


def test_a_flagged_picture_is_withheld_with_its_reason(
    tiny: Cascade, monkeypatch: pytest.MonkeyPatch
) -> None:
    imagen = Imagen(tiny, PLAIN)
    monkeypatch.setattr(imagen.door, "flag", lambda image: "it is not fit to be seen")
    engine = Engine([imagen])
    engine.start()
    (events,) = told(engine.submit([Order("fox", 0, size=16, partials=3)]))
    engine.stop()
    (end,) = (event for event in events if isinstance(event, Finished))
    assert end.image is None and end.flagged == "it is not fit to be seen"
    assert not any(isinstance(event, Preview) for event in events)
    assert engine.state().ends == {"flagged": 1}


# --- the end --------------------------------------------------------------------------------------


def test_draining_finishes_what_was_accepted_and_takes_no_more(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = Hold(monkeypatch)
    ticket = engine.submit([Order("fox", number, size=16) for number in range(4)])
    assert hold.reached.wait(30)

    async def drain() -> tuple[bool, bool, list[Event]]:
        too_soon = await engine.drain(0.1)
        with pytest.raises(Busy, match="being stopped"):
            engine.submit([Order("fox", 9)])
        hold.go.set()
        done = asyncio.create_task(engine.drain(60))
        return too_soon, await done, await story(ticket)

    too_soon, done, events = asyncio.run(drain())
    assert (too_soon, done) == (False, True)
    assert len(endings(events)) == 4 and not engine.is_ready


def test_a_second_start_is_none(engine: Engine) -> None:
    workers = [*engine._workers]
    engine.start()
    assert engine._workers == workers


def test_stopping_drops_what_is_left(imagen: Imagen, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine([imagen])
    hold = Hold(monkeypatch)
    engine.submit([Order("fox", number) for number in range(4)])
    engine.start()
    assert hold.reached.wait(30)
    hold.go.set()
    engine.stop()
    assert not any(worker.is_alive() for worker in engine._workers)

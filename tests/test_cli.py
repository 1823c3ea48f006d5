"""The command: it starts without torch, ends with the right status, and errs in one line."""

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from openimagen import model_folder
from openimagen.cli import app

Run = Callable[..., Result]


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], prog_name="openimagen")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two captioned pictures, and a cache of their own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    for colour in ("red", "blue"):
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"data/{colour}.png")
        (tmp_path / f"data/{colour}.txt").write_text(f"a {colour} square")
    return tmp_path / "data"


# --- starting -------------------------------------------------------------------------------------


def loaded_by(words: list[str]) -> set[str]:
    """Modules that a process has loaded when it has run this command line."""
    script = (
        "import sys, atexit; from openimagen.cli import app; "
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); app()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "200"},
    )
    assert done.stdout
    return set(done.stderr.split())


HELPED = ["train", "evaluate rate", "evaluate sweep"]


@pytest.mark.parametrize(
    "words", ["--help", *(f"{command} --help" for command in HELPED), "--version"]
)
def test_help_does_not_wait_for_torch(words: str) -> None:
    slow = {"torch", "numpy", "transformers", "PIL", "openimagen.config"}
    assert not slow & loaded_by(words.split())


@pytest.mark.parametrize(
    "command",
    [
        "generate",
        "models",
        "train",
        "data",
        "data icons",
        "data check",
        "data embed",
        "evaluate",
        "evaluate rate",
        "evaluate quality",
        "evaluate sweep",
        "evaluate alignment",
        "evaluate bias",
        "evaluate report",
        "evaluate drawbench",
        "evaluate realism",
        "evaluate fid30k",
    ],
)
def test_every_command_has_help(command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.exit_code == 0 and "Usage: openimagen " + command in result.stdout


def test_the_version_is_the_package_s() -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"openimagen {version('openimagen')}\n")


def test_python_m_openimagen_is_the_command() -> None:
    words = [sys.executable, "-m", "openimagen", "trian"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Did you mean 'train'?" in done.stderr and done.stderr.count("\n") == 1


# --- wrong requests -------------------------------------------------------------------------------

TRAIN = "train tiny --data {data} --out {out}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("trian", "did you mean 'train'? (see openimagen --help)"),
        ("train tiny", "missing option '--data' (see openimagen train --help)"),
        (f"{TRAIN} --colour red", "no such option: --colour"),
        (f"{TRAIN} --images many", "invalid value for '--images'"),
        (f"{TRAIN} --images 0", "invalid value for '--images'"),
        (f"{TRAIN} --images {10**30}", "train.base.images: input should be less than"),
        ("train tyni --data {data} --out {out}", "no recipe tyni: choose one of dreambooth, emoji"),
        (f"{TRAIN} --set train.base.bach=3", "did you mean batch?"),
        (f"{TRAIN} --set train.base.batch=many", "train.base.batch: input should be"),
        (f"{TRAIN} --stage sr", "use all or one of base, sr256, sr1024"),
        (f"{TRAIN} --resume", "holds no run to go on with"),
        (f"{TRAIN} --device nonsense", "try --device cpu"),
        (f"{TRAIN} --init nowhere", "no model nowhere"),
        (
            "train tiny --data {empty} --out {out}",
            "no usable pair of picture and caption: give a folder",
        ),
        ("train tiny --data {out} --out {out}", "does not exist: give a folder"),
        ("train tiny --data {data} --out {old}", "go on with --resume"),
        (f"{TRAIN} --workers -1", "invalid value for '--workers'"),
        ("data check {empty}", "no usable pair of picture and caption: give a folder"),
        ("data check {out}", "tar shards of key.jpg and key.txt"),
        ("data embed {empty}", "no usable pair of picture and caption: give a folder"),
        ("data embed {data} --recipe tyni", "no recipe tyni: choose one of dreambooth, emoji"),
        ("data embed {data} --recipe tiny --encoder minilm", "leave --encoder out"),
        ("data embed {data} --set model.text.max_tokens=8", "give --recipe too"),
        ("data icons {out} --styles nato", "no such style: nato; choose from fluent-emoji"),
        ("data icons {out} --source {out}", "does not exist"),
        ("generate ' ' --out {out}", "prompt is empty"),
        ("generate fox --model nowhere --out {out}", "no model nowhere"),
        ("generate fox --size 100 --out {out}", "size 100 is no stage of emoji"),
        ("generate fox --steps 1,x --out {out}", "--steps 1,x: write one number"),
        ("generate fox --steps 1,2,3,4 --out {out}", "steps: 4 values for 3 stages"),
        ("generate fox --device meta --out {out}", "try --device cpu"),
        ("data icons {out} --styles=", "no such style"),
    ],
)
def test_a_wrong_request_is_one_line_and_status_2(folder: Path, words: str, message: str) -> None:
    root = folder.parent
    places = {"data": folder, "out": root / "out", "empty": root / "empty", "old": root / "old"}
    for name in ("empty", "old"):
        places[name].mkdir()
    (places["old"] / "config.json").write_text("{}")
    result = run(*[word.strip("'").format(**places) or " " for word in words.split("\x20", 99)])
    assert result.exit_code == 2
    assert message in result.stderr.lower().replace(str(root).lower(), str(root))
    assert result.stderr.startswith("openimagen: ") and result.stderr.count("\n") == 1
    assert result.stdout == "" and not places["out"].exists()


# --- the corpus -----------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Tarballs of a set with two icons, one of them broken, and of the names."""
    folder = tmp_path / "source"
    folder.mkdir()
    info = {"name": "Noto", "author": {"name": "people"}, "license": {"title": "MIT"}}
    bodies = {"red-apple": '<path fill="#f00" d="M0 0h8v8H0z"/>', "broken": "<path"}
    icons = {
        "icons": {key: {"body": body} for key, body in bodies.items()},
        "width": 8,
        "height": 8,
    }
    labels = [{"label": "red apple", "tags": ["fruit"], "group": 4}]
    pack(folder / "iconify-json-noto-1.2.9.tgz", icons=icons, metadata={}, info=info)
    pack(folder / "emojibase-data-17.0.0.tgz", **{"en/data": labels})
    return folder


def pack(path: Path, **members: object) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            file = path.with_suffix(".json")
            file.write_text(json.dumps(content))
            archive.add(file, f"package/{name}.json")


def test_work_that_fails_is_one_line_and_status_1(source: Path) -> None:
    out = source / ("long" * 100)  # more than a name may have
    result = run("data", "icons", out, "--styles", "noto", "--source", source)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("openimagen: ") and result.stderr.count("\n") == 1


def test_icons_reports_in_words_or_json(source: Path, tmp_path: Path) -> None:
    words = ("data", "icons", tmp_path / "out", "--styles", "noto", "--source", source)
    result = run(*words)
    assert result.exit_code == 0
    style, skipped, total = result.stdout.splitlines()
    assert (style.split(), total) == (["noto", "1"], "1 icons: 1 drawn, 0 reused")
    assert skipped.startswith("skipped noto/broken.png: ")
    report = json.loads(run(*words, "--json").stdout)
    assert (report["drawn"], report["reused"], report["styles"]) == (0, 1, {"noto": 1})
    assert list(report["skipped"]) == ["noto/broken.png"]
    (drawn,) = (tmp_path / "out/noto").glob("*.png")
    for more, side in (((), 1024), (("--side", 32), 32)):
        assert run(*words, *more).exit_code == 0
        with Image.open(drawn) as picture:
            assert picture.size == (side, side)


# --- captions -------------------------------------------------------------------------------------


def test_embed_reports_in_words_or_json(folder: Path) -> None:
    result = run("data", "embed", folder, "--encoder", "minilm:32")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{folder}/embeddings/minilm-32: by minilm:32\n")
    assert "captions  2 met, 2 encoded now; 2 different ones in all" in result.stdout
    words = ("--recipe", "tiny", "--set", 'train.base.preview_prompts=["a green square"]')
    told = json.loads(run("data", "embed", folder, *words, "--json").stdout)
    assert (told["encoder"], told["captions"], told["distinct"]) == ("minilm:64", 3, 3)
    refused = run("train", "tiny", "--data", folder, "--out", folder.parent / "run", *words[2:-1],
                  'train.base.preview_prompts=["a grey square"]')  # fmt: skip
    assert refused.exit_code == 2 and 'as "a grey square": run `openimagen data' in refused.stderr


# --- from a folder of pictures to a picture -------------------------------------------------------


def test_tiny_trains_three_stages_and_draws(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ("train", "tiny", "--data", folder, "--out", out, "--device", "cpu", "--images", 80)
    result = run(*words)
    assert (result.exit_code, result.stdout) == (0, f"{out}/export\n")
    *memory, data = result.stderr.splitlines()
    assert [line.split(":")[0] for line in memory] == ["base", "sr256", "sr1024"]
    assert all("of memory at its peak" in line for line in memory)
    assert data == "data: 2 pictures, 2 captions"
    log = [*map(json.loads, (out / "log.jsonl").read_text().splitlines())]
    for stage in ("base", "sr256", "sr1024"):
        losses = [line["loss"] for line in log if line["stage"] == stage]
        assert losses[-1] < losses[0]
    assert [stage.net is not None for stage in model_folder.load(out / "export").stages] == [
        True
    ] * 3

    result = run(*words, "--resume", "--set", "train.base.batch=8")
    assert result.exit_code == 2 and "train.base.batch was 16, is 8" in result.stderr
    picture = tmp_path / "red.png"
    result = run(
        "generate", "a red square", "--model", out / "export", "--size", 256, "--out", picture
    )
    assert result.exit_code == 0
    with Image.open(picture) as image:
        assert image.size == (256, 256)


@pytest.mark.parametrize(("rank", "local_rank"), [(0, 0), (1, 1), (8, 0)])
def test_each_machine_says_once_what_all_ranks_have_to_say(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int, local_rank: int
) -> None:
    """The result, warnings and that it was stopped; an error may be of one rank alone."""
    from openimagen.train import run as module
    from openimagen.train.loop import Interrupted

    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("LOCAL_RANK", str(local_rank))
    speaks, who = local_rank == 0, "openimagen" if rank == 0 else f"openimagen, rank {rank}"
    outcome: list[Exception] = []

    def train(*_: object, **__: object) -> str:
        warnings.warn("careful", stacklevel=1)
        if outcome:
            raise outcome[0]
        return "run/export"

    monkeypatch.setattr(module, "train", train)
    words = ("train", "tiny", "--data", folder, "--out", tmp_path / "run")
    warned = f"{who}: careful\n" if speaks else ""
    result = run(*words)
    assert (result.stdout, result.stderr) == ("run/export\n" if speaks else "", warned)
    outcome.append(Interrupted("stopped"))
    result = run(*words)
    assert (result.stdout, result.stderr) == ("", warned + speaks * f"{who}: stopped\n")
    outcome[0] = OSError("no room")
    result = run(*words)
    assert (result.stdout, result.stderr) == ("", f"{warned}{who}: no room\n")


def test_a_stopped_run_ends_well(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from openimagen.train import run as module
    from openimagen.train.loop import Diverged, Interrupted

    for error, status in ((Interrupted("stopped"), 0), (Diverged("no number"), 1)):

        def fail(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(module, "train", fail)
        result = run("train", "tiny", "--data", folder, "--out", tmp_path / "run")
        assert (result.exit_code, result.stderr) == (status, f"openimagen: {error}\n")


def test_sigterm_to_every_process_of_a_run_saves_and_resume_ends_it(
    folder: Path, tmp_path: Path
) -> None:
    out, shards = tmp_path / "run", tmp_path / "shards"
    shards.mkdir()
    with tarfile.open(shards / "0.tar", "w") as tar:
        for file in sorted(folder.iterdir()):
            tar.add(file, file.name)
    words = ["train", "tiny", "--stage=base", "--set=train.base.batch=2", "--workers=1"]
    words += ["--device=cpu", f"--data={shards}", f"--out={out}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "openimagen", *words, "--images=1000000"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    log = out / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.stat().st_size):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGTERM)  # as Slurm does: the workers get it too
    said = process.communicate(timeout=60)[1]
    stopped = re.fullmatch(
        r"openimagen: base stopped at (\d+) images; --resume goes on", said.splitlines()[-1]
    )
    assert process.returncode == 0 and stopped, said
    assert "Traceback" not in said
    images = int(stopped[1])
    assert [int(path.name) for path in (out / "checkpoints/base").iterdir()] == [images]
    result = run(*words, f"--images={images + 4}", "--resume")
    assert (result.exit_code, result.stdout) == (0, f"{out}/export\n")
    assert model_folder.load(out / "export").stages[0].net is not None


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("recipes.load", "stopped; nothing is begun yet"),
        ("train.run.open_source", "stopped; nothing is begun yet"),
        ("train.run.make_trainee", "stopped; --resume goes on"),
        ("train.run.export", "stopped; --resume goes on"),
    ],
)
def test_sigterm_where_nothing_is_to_be_saved_ends_a_run_as_well(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    where: str,
    said: str,
) -> None:
    def leave(status: int) -> None:
        raise SystemExit(status)

    before = signal.getsignal(signal.SIGTERM)
    words = ("train", "tiny", "--data", folder, "--out", tmp_path / "run", "--images", 16)
    with monkeypatch.context() as patch:
        patch.setattr("os._exit", leave)
        patch.setattr(f"openimagen.{where}", lambda *_: signal.raise_signal(signal.SIGTERM))
        result = run(*words, "--stage", "base")
    assert (result.exit_code, result.stdout) == (0, "")
    assert capfd.readouterr().err == f"openimagen: {said}\n"
    assert signal.getsignal(signal.SIGTERM) is before
    assert run(*words, "--stage", "base", *["--resume"] * ("resume" in said)).exit_code == 0


@pytest.mark.parametrize("words", [("data", "icons"), ("evaluate", "bias", "tiny", "--out")])
def test_a_file_where_a_folder_is_wanted_is_told_in_one_line(
    tmp_path: Path, tiny_folder: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("mine")
    named = [tiny_folder if word == "tiny" else word for word in words]
    for where in ("file", "file/below"):
        result = run(*named, tmp_path / where)
        assert result.exit_code == 2 and result.stderr.count("\n") == 1
        assert "is, or lies in, a file: name a folder" in result.stderr
    assert (tmp_path / "file").read_text() == "mine"

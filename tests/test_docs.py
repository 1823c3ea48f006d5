"""What pages tell one to type is what the command takes; launch scripts do what they say."""

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

from openimagen import recipes
from openimagen.cli import app
from openimagen.evaluate.report.result import read_report
from openimagen.evaluate.report.table import BEGIN, END, markdown
from openimagen.model_folder import read_model_file

ROOT = Path(__file__).parent.parent
LAUNCH = ROOT / "docs/launch"
MODEL = ROOT / "openimagen/models/emoji"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def accepted(words: list[str]) -> bool:
    """Whether the command takes these words; an exception says why not."""
    command, path = typer.main.get_command(app), words
    while hasattr(command, "commands"):
        command, path = command.commands[path[0]], path[1:]
    with command.make_context("openimagen", [*path]) as context:
        options = context.params
    if recipe := options.get("recipe"):
        plan = recipes.override(recipes.load(recipe), options.get("settings") or [])
        names = {stage.name for stage in plan.model.stages}
        assert options.get("stage", "all") in {"all", *names}
    return True


# --- figures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["README.md", "openimagen/models/emoji/MODEL_CARD.md"])
def test_figures_are_those_of_the_report(page: str) -> None:
    text = (ROOT / page).read_text()
    shown = text[text.index(BEGIN) + len(BEGIN) : text.index(END)]
    assert shown.strip() == markdown(read_report(MODEL / "report.json"))


def test_what_the_card_wanted_and_has_is_in_the_report() -> None:
    figures = {each.name: each for each in read_report(MODEL / "report.json").figures}
    rows = {
        "R@1 of seen names, of the real icons'": "R@1 of seen names (EffLite2)",
        "R@1 of unseen pairs of a name and a style, of the real icons'": "R@1 of unseen "
        "(name, style) (EffLite2)",
        "colours of things never shown in them": "colors (icons)",
        "counts, 2 to 4": "counting (icons)",
        "left, right, above, below": "position (icons)",
    }
    card = (MODEL / "MODEL_CARD.md").read_text()
    for row, name in rows.items():
        figure = figures[name]
        value = figure.value / (figure.real or 1) if "of the real" in row else figure.value
        said = re.search(rf"^\| {re.escape(row)} \| \d+% \| (\d+%) \|$", card, re.MULTILINE)
        assert said and said[1] == f"{value:.0%}", row


def test_report_is_of_the_embedded_model() -> None:
    """Its figures are of pictures of one size: of the stages that drew those."""
    asked, model = read_report(MODEL / "report.json").asked, read_model_file(MODEL)
    drew = [stage for stage in asked.stages if stage.side <= asked.size]
    ours = [stage for stage in model.model.stages if stage.side <= asked.size]
    assert drew and len(drew) == len(ours)
    for stage, mine in zip(drew, ours, strict=True):
        assert stage.sha256 == model.weights[mine.name].sha256
        assert stage.sampling == mine.sampling.model_dump(mode="json")


# --- pages ----------------------------------------------------------------------------------------


def typed(page: Path) -> Iterator[list[str]]:
    """Words of each openimagen command in the indented blocks of a page."""
    for line in page.read_text().replace("\\\n", "").splitlines():
        if (start := re.match(r" {4}.*\bopenimagen (?=[a-z])", line)) and "pip install" not in line:
            yield shlex.split(line[start.end() :], comments=True)


def test_commands_are_found() -> None:
    found = [words for page in PAGES for words in typed(page)]
    assert len(found) > 15
    assert ["data", "check", "/data/laion/{00000..00099}.tar", "--sheet", "sheet.png"] in found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_on_a_page_are_accepted(page: Path) -> None:
    assert all(accepted(words) for words in typed(page))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("train paper_base46 --data x --out y", "no recipe"),
        ("train tiny --data x --out y --set train.base.paralel=fsdp", "did you mean parallel"),
        ("train tiny --data x --out y --colour red", "No such option"),
        ("data chekc x", "chekc"),
    ],
)
def test_a_wrong_command_is_not_accepted(words: str, why: str) -> None:
    with pytest.raises((ValueError, KeyError, typer.TyperException), match=why):
        accepted(words.split())


def test_links_lead_somewhere() -> None:
    for page in [*PAGES, MODEL / "MODEL_CARD.md"]:
        for link, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
            there = page.parent / link if link else page
            assert there.exists(), f"{page.name}: {link}"
            assert not anchor or anchor in anchors(there), f"{page.name}: {link}#{anchor}"


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall("^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- launch scripts, with stand-ins for what starts processes -------------------------------------

PYTHON = """#!/bin/bash
# stands in for training: takes its words down, then does what it is told
printf '%s\\n' "rank $RANK of $WORLD_SIZE, $LOCAL_RANK of $LOCAL_WORLD_SIZE: $*" >> "$HERE/started"
trap 'echo "rank $RANK stopped" >> "$HERE/ended"; exit 0' TERM
case $DOES in
  made) if [ "$LOCAL_RANK" = 0 ]; then echo /runs/base/export; fi ;;
  fails)
    until [ "$(wc -l < "$HERE/started")" = 8 ]; do sleep 0.02; done
    if [ "$RANK" = 11 ]; then exit 1; fi
    exec sleep 60 ;;
  waits) for _ in {1..200}; do sleep 0.1; done ;;
esac
"""
SRUN = """#!/bin/bash
[ "$1" = --kill-on-bad-exit=1 ] && shift
for ((n = 0; n < SLURM_NTASKS; n++)); do
  SLURM_PROCID=$n SLURM_LOCALID=$((n % 2)) "$@" || exit
done
"""
SCONTROL = """#!/bin/bash
if [ "$1" = show ]; then echo first; echo second; else echo "$*" >> "$HERE/asked"; fi
"""


@pytest.fixture
def stands_in(tmp_path: Path) -> dict[str, str]:
    """An environment in which python, srun and scontrol are scripts that take down their use."""
    for name, script in (("python", PYTHON), ("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HERE": str(tmp_path)}


def started(folder: Path) -> dict[str, list[str]]:
    """Words of each rank that was started, after `-m openimagen`."""
    lines = (folder / "started").read_text().splitlines()
    ranks = dict(line.split(": -m openimagen ") for line in lines)
    return {rank: words.split() for rank, words in ranks.items()}


def slurm(folder: Path, stands_in: dict[str, str], *words: str, **changes: str) -> int:
    job = {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2", "SLURM_JOB_ID": "7"}
    environment = stands_in | job | {"SLURM_JOB_NODELIST": "two", "OUT": str(folder)} | changes
    return subprocess.run(
        ["bash", LAUNCH / "slurm.sh", *words], env=environment, check=False, timeout=20
    ).returncode


def test_slurm_starts_a_rank_for_each_task(tmp_path: Path, stands_in: dict[str, str]) -> None:
    words = ("--set", "train.base.parallel=fsdp")
    assert slurm(tmp_path, stands_in, *words, DOES="made") == 0
    ranks = started(tmp_path)
    assert [*ranks] == [f"rank {n} of 4, {n % 2} of 2" for n in range(4)]
    for given in ranks.values():
        assert accepted(given) and given[-2:] == [*words] and "--resume" not in given
    (tmp_path / "config.json").touch()
    slurm(tmp_path, stands_in, DOES="made")
    assert all(given[-1] == "--resume" for given in started(tmp_path).values())


@pytest.mark.parametrize(
    ("does", "status", "again"), [("made", 0, False), ("nothing", 0, True), ("fails", 1, False)]
)
def test_slurm_queues_again_what_was_stopped(
    tmp_path: Path, stands_in: dict[str, str], does: str, status: int, again: bool
) -> None:
    if does == "fails":
        (tmp_path / "python").write_text("#!/bin/bash\nexit 1\n")
    assert slurm(tmp_path, stands_in, DOES=does) == status
    asked = tmp_path / "asked"
    assert (asked.read_text() if asked.exists() else "") == ("requeue 7\n" if again else "")


@pytest.fixture
def pod(stands_in: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """What the second pod runs: its command, its environment."""
    service, job = yaml.safe_load_all((LAUNCH / "kubernetes.yaml").read_text())
    pods = job["spec"]["template"]["spec"]
    assert service["metadata"]["name"] == pods["subdomain"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    (box,) = pods["containers"]
    given = {each["name"]: each["value"] for each in box["env"]}
    assert given["MASTER_ADDR"] == f"{job['metadata']['name']}-0.{pods['subdomain']}"
    assert int(given["WORLD_SIZE"]) == job["spec"]["completions"] * int(given["LOCAL_WORLD_SIZE"])
    assert {each["name"] for each in box["volumeMounts"]} == {v["name"] for v in pods["volumes"]}
    return [*box["command"], *box["args"]], stands_in | given | {"JOB_COMPLETION_INDEX": "1"}


@pytest.mark.parametrize(("does", "status"), [("made", 0), ("nothing", 1), ("fails", 1)])
def test_a_pod_ends_well_only_when_the_run_is_done(
    tmp_path: Path, pod: tuple[list[str], dict[str, str]], does: str, status: int
) -> None:
    command, environment = pod
    done = subprocess.run(  # where it fails, rank 11 does, and the others have to be ended
        command, env=environment | {"DOES": does}, check=False, timeout=20, capture_output=True
    )
    assert done.returncode == status
    ranks = started(tmp_path)
    assert sorted(ranks) == sorted(f"rank {8 + n} of 16, {n} of 8" for n in range(8))
    assert all(accepted(given) for given in ranks.values())


def test_a_pod_passes_its_signal_on(tmp_path: Path, pod: tuple[list[str], dict[str, str]]) -> None:
    command, environment = pod
    running = subprocess.Popen(command, env=environment | {"DOES": "waits"})
    while not (tmp_path / "started").exists() or len(started(tmp_path)) < 8:
        time.sleep(0.02)
    time.sleep(0.2)  # until they have their traps
    running.send_signal(signal.SIGTERM)
    assert running.wait(20) == 1  # it is not done
    assert len((tmp_path / "ended").read_text().splitlines()) == 8

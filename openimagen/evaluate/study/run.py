"""What one does with a study: invite raters, serve it, count the votes."""

import socket
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from openimagen.evaluate.study.design import load_study
from openimagen.evaluate.study.votes import Votes

if TYPE_CHECKING:
    from openimagen.evaluate.study.results import Results


@dataclass(frozen=True)
class Door:
    """Where the study is served, and what raters open if that is not it."""

    host: str = "127.0.0.1"
    port: int = 8001
    url: str | None = None

    def link(self, token: str, port: int | None = None) -> str:
        """A rater's invitation; the token is the fragment, which no log and no referrer has."""
        return f"{self.address(port)}#{token}"

    def address(self, port: int | None = None) -> str:
        """What a browser opens."""
        if self.url:
            return self.url.rstrip("/") + "/"
        host = socket.gethostname() if self.host in ("0.0.0.0", "::") else self.host
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{port or self.port}/"


def invite_raters(folder: Path, names: Sequence[str], door: Door) -> dict[str, str]:
    """Name -> link. A name that was invited before gets a new link, and keeps its votes."""
    if not door.port and not door.url:
        raise ValueError("a link needs the port that the study is served at: give --port")
    with closing(Votes(folder, load_study(folder))) as votes:
        return {name: door.link(votes.invite(name)) for name in names}


def serve(folder: Path, door: Door, tell: Callable[[str], None]) -> None:
    """Serve the study until interrupted. If nobody is invited yet, "rater 1" is."""
    try:
        from openimagen.evaluate.study import server
        from openimagen.web import listen
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is missing: pip install 'openimagen[evaluate]'") from None
    from openimagen.evaluate.study.booth import Booth

    study = load_study(folder)
    with listen(door.host, door.port) as listener, closing(Votes(folder, study)) as votes:
        port, booth = listener.getsockname()[1], Booth(folder, study, votes)
        tell(f"{study.title}  {len(study.items)} texts, {len(study.controls)} controls")
        if not votes.raters():
            tell(f"rater 1  {door.link(votes.invite('rater 1'), port)}")
        for rater, done, total in booth.progress():
            tell(f"{rater.name}  {done} of {total} answered")
        with suppress(KeyboardInterrupt):
            tell(f"serving at {door.address(port)} until Ctrl-C; votes go to {votes.path}")
            server.serve(booth, listener)


def count_votes(folder: Path, chart: Path | None = None, *, keep_failed: bool = False) -> "Results":
    """The table; `chart`: a PNG file for the bars."""
    from openimagen.evaluate.study.chart import save_chart
    from openimagen.evaluate.study.results import count

    study = load_study(folder)
    with closing(Votes(folder, study)) as votes:
        results = count(study, votes.votes(), votes.raters(), keep_failed=keep_failed)
    if chart:
        save_chart(results, chart)
    return results

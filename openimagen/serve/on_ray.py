"""The same server on many machines, by Ray Serve: each replica is a whole one, with one device.

Ray's proxy hands each request to a replica and starts those anew that die. What a server keeps in
memory is a replica's own: its queue, its rates, its metrics. With several, pictures by link are
refused: the next request may come to another replica.
"""

import contextlib
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openimagen import model_folder
from openimagen.serve.api import build
from openimagen.serve.config import ServeConfig, check_exposure
from openimagen.serve.run import address, load, log_as_json
from openimagen.serve.service import Service
from openimagen.serve.watch import JsonLines
from openimagen.web import listen

if TYPE_CHECKING:
    from ray.serve import Application
    from ray.util.queue import Queue

NAME = "openimagen"
ROOM = (
    4  # requests in one replica for each picture in its queue: those that wait, and those refused
)
LOOK = 0.2  # seconds between two looks at what a replica still has to do
END, PATIENCE = "", 10.0  # the last line, which nobody logs; seconds that printing may go on
QUIET = {"log_level": "WARNING", "enable_access_log": False}  # of Ray's own


class Forwarded(logging.Handler):
    """Sends the log's lines to where the server was started."""

    def __init__(self, lines: "Queue") -> None:
        super().__init__()
        self.lines = lines
        self.setFormatter(JsonLines())

    def emit(self, record: logging.LogRecord) -> None:
        """Send one; nobody waits for it."""
        self.lines.actor.put_nowait.remote(self.format(record))  # type: ignore[attr-defined]


class Unnamed:
    """Takes x-request-id off answers: Ray's proxy gives it, and says it itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""

        async def send_unnamed(message: Message) -> None:
            if message["type"] == "http.response.start":
                del MutableHeaders(scope=message)["x-request-id"]
            await send(message)

        await self.app(scope, receive, send_unnamed)


def replica(config: ServeConfig, lines: "Queue | None" = None) -> FastAPI:
    """The application of one replica. It is made where it runs, and draws at once."""
    log_as_json()
    if lines is not None:
        logging.basicConfig(handlers=[Forwarded(lines)], level=logging.WARNING, force=True)
    model = model_folder.read_model_file(model_folder.find_model(config.model)).model
    service = Service.of(config, model)
    engine = load(config.model_copy(update={"replicas": 1}))
    engine.start()  # Ray sends requests to who is there, and knows of no /readyz
    app = build(service, lambda: engine)
    app.add_middleware(Unnamed)
    return app


def application(
    config: ServeConfig, devices: dict[str, float] | None = None, lines: "Queue | None" = None
) -> "Application":
    """What `ray.serve.run` takes.

    `devices`: what a replica needs, by Ray's names; None is a GPU if the cluster has any.
    `lines`: takes the log's lines; without it they are in Ray's files.
    """
    import ray
    from ray import serve

    if devices is None:
        has_gpus = bool(ray.cluster_resources().get("GPU"))  # type: ignore[no-untyped-call]
        devices = {"num_gpus": 1} if has_gpus else {"num_cpus": 1}

    @serve.ingress(lambda: replica(config, lines))  # called where it runs
    class Studio:
        """Ray's view of a replica."""

    deployment = serve.deployment(
        name=NAME,
        num_replicas=config.replicas,
        ray_actor_options=devices,
        max_ongoing_requests=ROOM * config.limits.waiting,
        graceful_shutdown_timeout_s=config.limits.drain,
        graceful_shutdown_wait_loop_s=LOOK,
        logging_config=QUIET,
    )(Studio)
    return deployment.bind()


def serve(config: ServeConfig, tell: Callable[[str], None]) -> None:
    """Run on this machine's Ray cluster, or one of its own, until told to stop.

    Raises ValueError for what cannot be served, or if Ray is missing; OSError for a port that is
    taken, or if Ray does not come up.
    """
    try:
        import ray
    except ModuleNotFoundError:
        raise ValueError("ray is missing: pip install 'openimagen[ray]'") from None
    for danger in check_exposure(config):
        tell(f"warning: {danger}")
    model_folder.find_model(config.model)
    with listen(config.host, config.port) as door:  # OSError for one that is taken
        config = config.model_copy(update={"port": door.getsockname()[1]})
    log_as_json()
    with contextlib.ExitStack() as ends:
        ends.callback(ray.shutdown)
        begin(config, ends)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # till now it was Ray's
        tell(f"serving {config.model} at {address(config, config.port)} until Ctrl-C")
        wait_and_end()


def begin(config: ServeConfig, ends: contextlib.ExitStack) -> None:
    """Bring up Ray, its proxy and the replicas, and leave to `ends` what is to end before Ray does.

    OSError, in one line, for what does not come up.
    """
    import ray
    from ray import serve
    from ray.exceptions import RayError

    for name in ("ray", "ray.serve"):  # what they warn of is a line of JSON as ours are
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.WARNING)
    http = {"host": config.host, "port": config.port}
    try:
        ray.init(log_to_driver=False, logging_level=logging.WARNING, configure_logging=False)
        lines = ends.enter_context(printed())
        serve.start(http_options=http, logging_config=QUIET)
        serve.run(application(config, lines=lines), name=NAME)
    except (RayError, RuntimeError, TimeoutError) as error:
        why = str(error).strip().splitlines()[-1]  # of a traceback what it comes to
        raise OSError(f"Ray did not come up, try again on a less busy machine: {why}") from None


@contextlib.contextmanager
def printed() -> Iterator["Queue"]:
    """A queue for the replicas' lines, which are printed; what is in it at the end is, too.

    Who asks Ray for a line once it is shut down has his process ended by it, with status 1.
    """
    from ray.exceptions import RayError
    from ray.util.queue import Queue

    lines = Queue(actor_options={"num_cpus": 0})
    thread = threading.Thread(target=relay, args=(lines,), daemon=True)
    thread.start()
    try:
        yield lines
    finally:
        with contextlib.suppress(RayError):
            lines.put(END)
        thread.join(PATIENCE)


def relay(lines: "Queue") -> None:
    """Print lines until the END, or as long as there is a Ray."""
    from ray.exceptions import RayError

    with contextlib.suppress(RayError):
        while (line := lines.get()) != END:
            print(line, file=sys.stderr, flush=True)


def wait_and_end() -> None:
    """Wait for a signal; then replicas finish what they have, while the proxy lives to pass it on.

    A second signal ends it at once.
    """
    from ray import serve

    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)
    logger = logging.getLogger("openimagen.serve")
    logger.info("draining")
    with contextlib.suppress(KeyboardInterrupt):
        delete()
        time.sleep(LOOK)  # for the last lines of the log
        try:
            serve.shutdown()  # type: ignore[no-untyped-call]
        except Exception as error:  # all is answered: what Ray then fails at loses nothing
            logger.warning(f"Ray did not end as it should: {type(error).__name__}: {error}")


def delete() -> None:
    """Take the replicas away when they are done, which is within the seconds they have to drain."""
    from ray import serve

    while True:
        with contextlib.suppress(TimeoutError):  # Ray waits a minute
            return serve.delete(NAME)

"""The same server on many machines, by Ray Serve: each replica is a whole one, with one device.

Ray's proxy hands each request to a replica and starts those anew that die. What a server keeps in
memory is a replica's own: its queue, its rates, its metrics. With several, pictures by link are
refused: the next request may come to another replica.
"""

import logging
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from fastapi import FastAPI

from openimagen import model_folder
from openimagen.serve.api import build
from openimagen.serve.config import ServeConfig, check_exposure
from openimagen.serve.run import address, load
from openimagen.serve.service import Service

if TYPE_CHECKING:
    from ray.serve import Application

NAME = "openimagen"
ROOM = (
    4  # requests in one replica for each picture in its queue: those that wait, and those refused
)


def replica(config: ServeConfig) -> FastAPI:
    """The application of one replica. It is made where it runs; the model is loaded at once."""
    model = model_folder.read_model_file(model_folder.find_model(config.model)).model
    service = Service.of(config, model)
    engine = load(config.model_copy(update={"replicas": 1}))
    return build(service, lambda: engine)


def application(config: ServeConfig, devices: dict[str, float] | None = None) -> "Application":
    """What `ray.serve.run` takes.

    `devices`: what a replica needs, by Ray's names; None is a GPU if the cluster has any.
    """
    import ray
    from ray import serve

    if devices is None:
        has_gpus = bool(ray.cluster_resources().get("GPU"))  # type: ignore[no-untyped-call]
        devices = {"num_gpus": 1} if has_gpus else {"num_cpus": 1}

    @serve.ingress(lambda: replica(config))  # called where it runs
    class Studio:
        """Ray's view of a replica."""

    deployment = serve.deployment(
        name=NAME,
        num_replicas=config.replicas,
        ray_actor_options=devices,
        max_ongoing_requests=ROOM * config.limits.waiting,
        graceful_shutdown_timeout_s=config.limits.drain,
    )(Studio)
    return deployment.bind()


def serve(config: ServeConfig, tell: Callable[[str], None]) -> None:
    """Run on this machine's Ray cluster, or one of its own, until told to stop.

    Raises ValueError for what cannot be served, or if Ray is missing.
    """
    try:
        import ray
        from ray import serve as ray_serve
    except ModuleNotFoundError:
        raise ValueError("ray is missing: pip install 'openimagen[ray]'") from None
    for danger in check_exposure(config):
        tell(f"warning: {danger}")
    model_folder.find_model(config.model)
    ray.init(log_to_driver=False, logging_level=logging.WARNING, configure_logging=False)
    ray_serve.start(http_options={"host": config.host, "port": config.port})
    ray_serve.run(application(config), name=NAME)
    tell(f"serving {config.model} at {address(config, config.port)} until Ctrl-C")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:  # replicas finish what they have
        ray_serve.shutdown()  # type: ignore[no-untyped-call]

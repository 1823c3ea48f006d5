"""What the server does when too many come: the tables of docs/serving.md.

    python docs/load.py [--size 64x64] [--seconds 60] [--waiting 64]

Starts a server of its own on loopback, and tells in Markdown: what it can do at most; at ten times
that, how long accepted requests take, what becomes of the rest, and how much memory it takes; what
is left of fifty clients that vanish while they are drawn for; and whether kill -TERM loses any.
"""

import argparse
import asyncio
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx2
import psutil

PATH = "/v1/images/generations"
VANISHING = 50


def quantile(values: list[float], share: float) -> float:
    """The value that a share of the values does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class Server:
    """A server in a process of its own."""

    def __init__(self, folder: Path, waiting: int) -> None:
        config = folder / "serve.toml"
        config.write_text(f"port = 0\n[limits]\nwaiting = {waiting}\nrate = 1e9\nburst = 1000000\n")
        command = [sys.executable, "-m", "openimagen", "serve", "--config", str(config)]
        self.log = (folder / "log").open("w+")
        self.process = subprocess.Popen(command, stderr=self.log, stdout=self.log)
        self.url = ""

    async def ready(self, client: httpx2.AsyncClient) -> None:
        """Wait until it draws."""
        while not self.url:
            await asyncio.sleep(0.2)
            told = Path(self.log.name).read_text()
            if found := re.search(r"at (http://\S+)", told):
                self.url = found[1]
            if self.process.poll() is not None:
                sys.exit(told)
        while (await client.get(self.url + "/readyz")).status_code != 200:
            await asyncio.sleep(0.2)

    def memory(self) -> float:
        """MiB that it holds now."""
        return psutil.Process(self.process.pid).memory_info().rss / 2**20


async def draw(
    client: httpx2.AsyncClient, url: str, body: dict[str, object]
) -> tuple[int, float, int]:
    """Status, seconds, and bytes of a request."""
    began = time.monotonic()
    answer = await client.post(url + PATH, json=body)
    if answer.status_code == 429:
        assert int(answer.headers["retry-after"]) >= 1
    return answer.status_code, time.monotonic() - began, len(answer.content)


async def capacity(
    client: httpx2.AsyncClient, server: Server, size: str, seconds: float
) -> tuple[float, list[float]]:
    """Pictures a second with two clients that never pause, and how long each waits."""
    took: list[float] = []
    end = time.monotonic() + seconds

    async def work(first: int) -> None:
        seed = first
        while time.monotonic() < end:
            status, spent, _ = await draw(
                client, server.url, {"prompt": "red apple", "size": size, "seed": seed}
            )
            assert status == 200, status
            took.append(spent)
            seed += 2

    began = time.monotonic()
    await asyncio.gather(work(0), work(1))
    return len(took) / (time.monotonic() - began), took


async def flood(
    client: httpx2.AsyncClient, server: Server, size: str, seconds: float, rate: float
) -> tuple[Counter[int], list[float], float]:
    """Requests at random times, `rate` a second; statuses, seconds of those drawn, peak memory."""
    statuses, took, peak = Counter[int](), list[float](), 0.0
    tasks: set[asyncio.Task[None]] = set()

    async def one(seed: int) -> None:
        body = {"prompt": "red apple", "size": size, "seed": seed}
        status, spent, _ = await draw(client, server.url, body)
        statuses[status] += 1
        if status == 200:
            took.append(spent)

    lot, began, number = random.Random(0), time.monotonic(), 0
    due = 0.0
    while due < seconds:
        due += lot.expovariate(rate)
        await asyncio.sleep(max(0.0, began + due - time.monotonic()))
        tasks.add(asyncio.create_task(one(number)))
        number += 1
        if number % 20 == 0:
            peak = max(peak, server.memory())
    await asyncio.gather(*tasks)
    return statuses, took, max(peak, server.memory())


async def metric(client: httpx2.AsyncClient, server: Server, name: str) -> float:
    """The sum of a metric's samples."""
    text = (await client.get(server.url + "/metrics")).text
    found = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.M)
    return sum(map(float, found))


async def vanish(client: httpx2.AsyncClient, server: Server, size: str) -> tuple[float, float]:
    """Clients go away at their first preview, or before; seconds to quiet, pictures drawn."""
    before = await metric(client, server, 'openimagen_engine_ends_total{end="finished"}')

    async def one(number: int) -> None:
        body = {"prompt": "red apple", "size": size, "stream": True, "partial_images": 3}
        try:
            async with asyncio.timeout(0.2 + 0.02 * number):
                async with client.stream("POST", server.url + PATH, json=body) as answer:
                    async for _ in answer.aiter_lines():
                        return
        except TimeoutError:
            pass

    await asyncio.gather(*(one(number) for number in range(VANISHING)))
    began = time.monotonic()
    while await metric(client, server, "openimagen_engine_(?:waiting|running)"):
        await asyncio.sleep(0.05)
    after = await metric(client, server, 'openimagen_engine_ends_total{end="finished"}')
    return time.monotonic() - began, after - before


async def end(client: httpx2.AsyncClient, server: Server, size: str, count: int) -> Counter[int]:
    """SIGTERM while so many requests are in the queue; their statuses."""
    asked = [
        asyncio.create_task(
            draw(client, server.url, {"prompt": "red apple", "size": size, "seed": seed})
        )
        for seed in range(count)
    ]
    while await metric(client, server, "openimagen_engine_(?:waiting|running)") < count / 2:
        await asyncio.sleep(0.01)
    accepted = await metric(client, server, "openimagen_engine_(?:waiting|running)")
    server.process.send_signal(signal.SIGTERM)
    statuses = Counter(status for status, _, _ in await asyncio.gather(*asked))
    assert statuses[200] >= accepted, (statuses, accepted)
    server.process.wait(30)
    return statuses


async def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="64x64")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--waiting", type=int, default=64)
    asked = parser.parse_args()
    limits = httpx2.Limits(max_connections=1000)
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), asked.waiting)
        async with httpx2.AsyncClient(timeout=120, limits=limits) as client:
            await server.ready(client)
            await capacity(client, server, asked.size, 3)  # warm
            idle = server.memory()
            rate, alone = await capacity(client, server, asked.size, asked.seconds / 2)
            statuses, took, peak = await flood(client, server, asked.size, asked.seconds, 10 * rate)
            print(f"\n{asked.size}, a queue of {asked.waiting}, {asked.seconds:.0f} s\n")
            print("| | requests a second | drawn | 429 | other | p50 | p95 | p99 | memory |")
            print("|---|---|---|---|---|---|---|---|---|")
            for name, per, counts, times, memory in (
                ("two clients", rate, Counter({200: len(alone)}), alone, idle),
                ("ten times that", 10 * rate, statuses, took, peak),
            ):
                p50, p95, p99 = (f"{quantile(times, share):.2f} s" for share in (0.5, 0.95, 0.99))
                other = counts.total() - counts[200] - counts[429]
                print(
                    f"| {name} | {per:.1f} | {counts[200]} | {counts[429]} | {other} "
                    f"| {p50} | {p95} | {p99} | {memory:.0f} MiB |"
                )
            quiet, drawn = await vanish(client, server, asked.size)
            print(
                f"\n{VANISHING} clients that vanish: quiet after {quiet:.2f} s, {drawn:.0f} drawn"
            )
            statuses = await end(client, server, asked.size, asked.waiting)
            print(f"kill -TERM with {asked.waiting} in the queue: {dict(statuses)}")


if __name__ == "__main__":
    asyncio.run(main())

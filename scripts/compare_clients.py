"""Two clients as people write them in an afternoon, for `scripts/compare.py`: asyncio, keep-alive, N rows in flight.

    compare_clients.py URL ROWS IN_FLIGHT [--sleep SECONDS]

Without --sleep a rejected row waits as the providers' own SDKs do: for Retry-After if there is one, else 0.5 s, doubling to
8 s, with jitter. With it, the whole client sleeps that long after a rejection. Both give up on a row after ten attempts.
The result is a line of JSON; the time in it begins with the first row, so that starting Python is not counted.
"""

import argparse
import asyncio
import json
import random
import time
import urllib.parse

ATTEMPTS = 10


class Connection:
    """One HTTP/1.1 connection, used again and again."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes) -> tuple[int, dict[str, str]]:
        if self.streams is None:
            self.streams = await asyncio.open_connection(self.host, self.port)
        reader, writer = self.streams
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {self.host}\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        await reader.readexactly(int(headers["content-length"]))
        return int(status.split()[1]), headers


class Client:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.rows = iter(range(options.rows))
        self.paused_until = 0.0
        self.latencies: list[float] = []

    async def worker(self) -> None:
        url = urllib.parse.urlsplit(self.options.url)
        connection = Connection(url.hostname, url.port)
        for row in self.rows:
            await self.ask(connection, row)

    async def ask(self, connection: Connection, row: int) -> None:
        prompt = f"Say in one sentence what the number {row} is good for."
        body = json.dumps({"model": "sim", "messages": [{"role": "user", "content": prompt}]}).encode()
        for attempt in range(ATTEMPTS):
            while (pause := self.paused_until - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            started = time.monotonic()
            status, headers = await connection.post(body)
            if status == 200:
                self.latencies.append(time.monotonic() - started)
                return
            if self.options.sleep:
                self.paused_until = time.monotonic() + self.options.sleep
            else:
                usual = min(8.0, 0.5 * 2**attempt) * random.uniform(0.75, 1.0)
                await asyncio.sleep(float(headers.get("retry-after", usual)))

    async def run(self) -> None:
        started = time.monotonic()
        await asyncio.gather(*(self.worker() for _ in range(self.options.in_flight)))
        seconds = time.monotonic() - started
        ordered = sorted(self.latencies)
        p50, p99 = (ordered[int(len(ordered) * share)] for share in (0.5, 0.99))
        print(json.dumps({"seconds": seconds, "answered": len(ordered), "p50_ms": p50 * 1e3, "p99_ms": p99 * 1e3}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("rows", type=int)
    parser.add_argument("in_flight", type=int)
    parser.add_argument("--sleep", type=float, default=0.0)
    asyncio.run(Client(parser.parse_args()).run())

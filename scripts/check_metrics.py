"""Runs the program with --metrics-listen against the simulated provider, and reads its metrics as their users do; called by
check-metrics.sh. Everything listens on 127.0.0.1 and is gone at the end."""

import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

binary = pathlib.Path(sys.argv[1]).resolve()
dashboard = json.loads(pathlib.Path("contrib/grafana-dashboard.json").read_text())
SCENARIO = """latency: {lognormal: {median_ms: 60, sigma: 0.5}}
faults: {status_429: 0.05, status_500: 0.05}
"""


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def get(url):
    with urllib.request.urlopen(url, timeout=10) as reply:
        return reply.read().decode()


def wait_for(what, ready, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            found = ready()
            if found:
                return found
        except OSError:
            pass
        time.sleep(0.1)
    sys.exit(f"check-metrics: {what} did not come within {seconds} s")


def start(folder, *command):
    log = (folder / f"{pathlib.Path(command[0]).name}.log").open("w")
    return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)


def expressions():
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return found + [variable["query"]["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"]


def names_in(expression):
    return set(re.findall(r"\b(?:tidegate|gen_ai)_\w+(?=[{,])", expression)) - {"gen_ai_request_model", "gen_ai_token_type"}


def check_own(address):
    """The text and the JSON say the same, and the dashboard names nothing else."""
    text, document = get(f"{address}/metrics"), json.loads(get(f"{address}/metrics.json"))
    samples = {re.match(r"\w+", line)[0] for line in text.splitlines() if not line.startswith("#")}
    in_json = {sample["name"] for family in document["metrics"] for sample in family["samples"]}
    assert samples == in_json, samples ^ in_json
    named = set().union(*map(names_in, expressions()))
    assert named, "the dashboard names no metric"
    assert named <= samples, f"the dashboard names what the program does not have: {sorted(named - samples)}"
    for needed in ["gen_ai_client_operation_duration_seconds_bucket", "gen_ai_client_token_usage_sum"]:
        assert needed in samples, needed
    print(f"check-metrics: {len(samples)} metrics, as text and as JSON; the dashboard's {len(named)} are among them")


def query(server, expression):
    for variable, value in [("$job", ".*"), ("$instance", ".*"), ("$__rate_interval", "10s")]:
        expression = expression.replace(variable, value)
    reply = json.loads(get(f"{server}/api/v1/query?" + urllib.parse.urlencode({"query": expression})))
    assert reply["status"] == "success", (expression, reply)
    return reply["data"]["result"]


def check_prometheus(folder, port):
    if not shutil.which("prometheus"):
        print("SKIPPED: no prometheus here; apt-get install -y --no-install-recommends prometheus", file=sys.stderr)
        return
    config = {"global": {"scrape_interval": "1s"}, "scrape_configs": [{"job_name": "tidegate", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}]}
    (folder / "prometheus.yml").write_text(json.dumps(config))
    at = free_port()
    server = f"http://127.0.0.1:{at}"
    prometheus = start(folder, "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{at}")
    try:
        rows = wait_for("the run in Prometheus", lambda: query(server, 'tidegate_rows_total{state="answered"} > 100'))
        target = json.loads(get(f"{server}/api/v1/targets"))["data"]["activeTargets"][0]
        assert target["health"] == "up", target
        # A rate wants two scrapes.
        wait_for("a rate", lambda: query(server, "sum(rate(tidegate_rows_total[10s])) > 0"))
        queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
        empty = [expression for expression in queries if not query(server, expression)]
        assert not empty, f"these queries of the dashboard find nothing: {empty}"
        print(f"check-metrics: scraped by Prometheus ({rows[0]['value'][1]} rows by then); all {len(queries)} queries of the dashboard find something")
    finally:
        prometheus.terminate()
        prometheus.wait(20)


def main():
    with tempfile.TemporaryDirectory() as name:
        folder, port = pathlib.Path(name), free_port()
        (folder / "rows.csv").write_text("id,text\n" + "".join(f"r{n},question {n}\n" for n in range(100_000)))
        (folder / "s.yaml").write_text(SCENARIO)
        run = start(folder, str(binary), "run", "rows.csv", "-m", "sim/a,sim/b", "--balance", "least-loaded", "-p", "{{ text }}", "--rpm", "6000",
                    "--price", "1,2", "--scenario", "s.yaml", "-o", "out.jsonl", "--metrics-listen", f"127.0.0.1:{port}", "--quiet")
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for("a failed call", lambda: "error_type" in get(f"{address}/metrics") and 'state="answered"} 0' not in get(f"{address}/metrics"))
            check_own(address)
            check_prometheus(folder, port)
        finally:
            run.terminate()
            code = run.wait(60)
        assert code == 130, (code, (folder / f"{binary.name}.log").read_text()[-2000:])


main()

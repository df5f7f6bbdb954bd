"""Runs the `sh` blocks of the pages, page by page in a folder with the files that the pages speak of.

All providers are the simulated one: a tidegate.toml in the folder gives each its address. A block that is only shown has
another language (`console`, `text`). A command that fails fails the page, whatever comes behind it.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

binary, only = sys.argv[1], sys.argv[2:]
root = pathlib.Path.cwd()
PAGES = ["README.md", *sorted(str(page) for page in pathlib.Path("docs").glob("*.md"))]
# Servers of the reader's own that the pages name.
ELSEWHERE = r"http://(?:10\.0\.0\.7:8000|127\.0\.0\.1:8080|127\.0\.0\.1:8000)"
KEYS = ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "GROQ_API_KEY", "TOGETHER_API_KEY", "AZURE_OPENAI_API_KEY"]


def blocks(page):
    found = re.findall(r"^```sh\n(.*?)^```", pathlib.Path(page).read_text(), re.S | re.M)
    # What builds, measures or serves is for other steps.
    return [block for block in found if not re.search(r"^(cargo|curl|scripts/|PROFILE=|tidegate sim\b)", block, re.M)]


def furnish(folder, url):
    """Puts into the folder what the pages' commands read."""
    shutil.copytree(root / "examples", folder / "examples")
    shutil.copy(root / "examples/scenarios/bad-day.yaml", folder)
    rows = [{"id": f"r{n}", "text": f"The tide at pier {n} was late again.", "name": "tin", "task": "summarise"} for n in range(4)]
    for name in ("rows.jsonl", "invoices.jsonl", "prompts.jsonl"):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "reviews.csv").write_text("id,text\n1,Splendid\n2,It leaks\n")
    (folder / "prompt.txt").write_text("Summarise: {{ text }}\n")
    (folder / "other.txt").write_text("In one word: {{ text }}\n")
    properties = {"total": {"enum": [7, 9]}, "currency": {"enum": ["EUR"]}}
    schema = {"type": "object", "properties": properties, "required": ["total", "currency"], "additionalProperties": False}
    for name in ("total.json", "invoice.json"):
        (folder / name).write_text(json.dumps(schema))
    (folder / "invoices").mkdir()
    for n in range(2):
        (folder / f"invoices/{n}.pdf").write_bytes(b"%PDF-1.4\n%%EOF\n")
    (folder / ".aws").mkdir()
    profiles = "".join(f"[{name}]\naws_access_key_id = AKIA{name.upper()}\naws_secret_access_key = {name}\n" for name in ("default", "dev", "prod"))
    (folder / ".aws/credentials").write_text(profiles)
    v1 = ["openai", "openrouter", "groq", "deepseek", "together", "mistral", "fireworks", "xai", "moonshot", "ollama", "vllm",
          "llama.cpp", "lm-studio", "sglang"]
    rows = [f'[providers."{name}"]\nbase_url = "{url}/v1"\n' for name in v1]
    rows += [f'[providers."{name}"]\nbase_url = "{url}"\n' for name in ("anthropic", "gemini", "bedrock")]
    (folder / "tidegate.toml").write_text("".join(rows))


def environment(folder):
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    keys = dict.fromkeys(KEYS, "sk-docs")
    return kept | keys | {"PATH": f"{folder}/bin:{kept['PATH']}", "HOME": str(folder), "NO_PROXY": "127.0.0.1", "AWS_REGION": "us-east-1"}


def run(page, url):
    """Returns what went wrong with a page, if anything."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        furnish(folder, url)
        (folder / "bin").mkdir()
        (folder / "bin/tidegate").symlink_to(binary)
        for block in blocks(page):
            script = re.sub(ELSEWHERE, url, block)
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=environment(folder), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
            # On a bad day some rows fail, and the exit code says so.
            if done.returncode not in ((0, 1) if "bad-day" in block else (0,)):
                return f"{page}: exit code {done.returncode} of\n{block}\n{done.stdout[-3000:]}"
    return None


scenario = "latency: {fixed: {ms: 2}}\n"
with tempfile.TemporaryDirectory() as name:
    (pathlib.Path(name) / "quick.yaml").write_text(scenario)
    server = subprocess.Popen([binary, "sim", "--listen", "127.0.0.1:0", "--scenario", f"{name}/quick.yaml"], stdout=subprocess.PIPE, text=True)
    try:
        url = re.search(r"http://[\d.:]+", server.stdout.readline())[0]
        problems, count = [], 0
        for page in only or PAGES:
            count += len(blocks(page))
            problems.append(run(page, url))
    finally:
        server.kill()
problems = [problem for problem in problems if problem]
print("\n".join(problems) or f"run-docs: {count} blocks of {len(only or PAGES)} pages did what they say", file=sys.stderr if problems else sys.stdout)
sys.exit(bool(problems))

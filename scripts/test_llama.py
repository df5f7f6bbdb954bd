"""Runs the tidegate binary against a llama.cpp server and compares the results with what the server itself counted.

Usage: test_llama.py BINARY URL WORK_FOLDER; `test-llama.sh` starts the server and calls this.
"""

import csv
import json
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.request

ROWS = 100
FEW = 3
TOKENS = 8
WIRES = ["openai", "responses", "anthropic"]
SCHEMA = {
    "type": "object",
    "properties": {"metal": {"type": "boolean"}, "period": {"type": "integer", "enum": [1, 2, 3, 4, 5, 6, 7]}},
    "required": ["metal", "period"],
    "additionalProperties": False,
}
ELEMENTS = pathlib.Path(__file__).parent.parent / "examples" / "elements.csv"


def check(condition: bool, message: str) -> None:
    if not condition:
        sys.exit(f"test-llama: FAILED: {message}")


def counters(url: str) -> dict[str, int]:
    """What the server says it has processed, by its own Prometheus counters."""
    with urllib.request.urlopen(f"{url}/metrics") as reply:
        text = reply.read().decode()
    return {name: int(float(value)) for name, value in re.findall(r"^llamacpp:(\w+_total) (\S+)$", text, re.M)}


def prompt_tokens(url: str, prompt: str) -> int:
    body = json.dumps({"content": prompt, "add_special": True}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/tokenize", body)) as reply:
        return len(json.load(reply)["tokens"])


def run(binary: str, url: str, wire: str, *arguments: str, expect: int) -> None:
    # As their SDKs mean it: Anthropic's base URL is the host, OpenAI's has the version.
    base = url if wire == "anthropic" else f"{url}/v1"
    command = [binary, "run", *arguments, "--base-url", base, "--wire", wire, "-m", "gemma-3-270m", "--no-config"]
    command += ["--temperature", "0", "--concurrency", "8"]
    code = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=600).returncode
    check(code == expect, f"exit code {code} instead of {expect}: {' '.join(command)}")


def tidegate(binary: str, url: str, *arguments: str, expect: int, wire: str = "openai") -> None:
    # `ignore_eos` is a field of llama.cpp's own: with it every answer has exactly TOKENS tokens, so that the server's total
    # tells how many requests it served.
    exactly = ["--max-tokens", str(TOKENS), "--param", "ignore_eos=true"]
    run(binary, url, wire, *arguments, *exactly, expect=expect)


def records(path: pathlib.Path) -> list[dict]:
    text = path.read_text()
    check(text.endswith("\n"), f"{path.name} ends within a line")
    return [json.loads(line) for line in text.splitlines()]


def check_answer(record: dict, tokens: int) -> None:
    name = record["input"]["name"]
    check(record["id"] == record["input"]["symbol"], f"the id of {name} is {record['id']}")
    check(record["error"] is None, f"{name} failed: {record['error']}")
    check(isinstance(record["output"], str) and record["output"] != "", f"{name} has no text")
    check(record["finish_reason"] == "length", f"{name} finished by {record['finish_reason']}")
    usage = record["usage"]
    check(usage["output_tokens"] == TOKENS, f"{name} has {usage['output_tokens']} output tokens instead of {TOKENS}")
    check(usage["input_tokens"] == tokens, f"{name} has {usage['input_tokens']} input tokens instead of {tokens}")
    check(record["cost_usd"] is None, f"{name} has a price although nobody stated one")
    check(record["latency_ms"] > 0 and record["attempts"] >= 1, f"{name} has no latency or attempts")


def hundred_prompts(binary: str, url: str, work: pathlib.Path) -> None:
    """Every row is answered once, with the usage that the server counted; the same command again sends nothing."""
    out = work / "answers.jsonl"
    template = "The element {{ name }}, symbol {{ symbol }}, is a {{ category }}. It"
    command = (str(ELEMENTS), "-p", template, "--id-column", "symbol", "--rows", str(ROWS), "-o", str(out))
    before = counters(url)
    tidegate(binary, url, *command, expect=0)
    after = counters(url)

    with ELEMENTS.open(newline="") as file:
        rows = list(csv.DictReader(file))[:ROWS]
    answers = records(out)
    ids = [record["id"] for record in answers]
    check(len(ids) == ROWS and len(set(ids)) == ROWS, f"{len(ids)} records with {len(set(ids))} ids instead of {ROWS}")
    check(set(ids) == {row["symbol"] for row in rows}, "the ids are not those of the input")
    for record in answers:
        row = record["input"]
        prompt = f"The element {row['name']}, symbol {row['symbol']}, is a {row['category']}. It"
        check_answer(record, prompt_tokens(url, prompt))

    generated = after["tokens_predicted_total"] - before["tokens_predicted_total"]
    check(generated == ROWS * TOKENS, f"the server generated {generated} tokens instead of {ROWS * TOKENS}")

    content = out.read_bytes()
    tidegate(binary, url, *command, expect=0)
    check(out.read_bytes() == content, "running it again changed the finished file")
    check(counters(url) == after, "running it again sent something")


def every_format(binary: str, url: str, work: pathlib.Path) -> None:
    """OpenAI's Responses and Anthropic's Messages as llama.cpp means them, and all three as streams: the same usage."""
    template = "The element {{ name }} is a {{ category }}. It"
    usages = {}
    for wire in WIRES:
        for more in [[], ["--stream"]]:
            out = work / f"{wire}{len(more)}.jsonl"
            command = [str(ELEMENTS), "-p", template, "--id-column", "symbol", "--rows", str(FEW), "-o", str(out), *more]
            before = counters(url)
            tidegate(binary, url, *command, expect=0, wire=wire)
            generated = counters(url)["tokens_predicted_total"] - before["tokens_predicted_total"]
            check(generated == FEW * TOKENS, f"{wire} {more}: the server generated {generated} tokens")
            answers = records(out)
            for record in answers:
                check(record["error"] is None and record["output"] != "", f"{wire} {more}: {record}")
                # Of Responses the server says "completed" whatever ended them.
                expected = "stop" if wire == "responses" else "length"
                check(record["finish_reason"] == expected, f"{wire} {more}: finished by {record['finish_reason']}")
                check(record["model"].endswith("/gemma-3-270m"), f"{wire} {more}: the model is {record['model']}")
            usages[wire, *more] = {record["id"]: record["usage"] for record in answers}
    expected = usages["openai",]
    check(len(expected) == FEW, f"{len(expected)} records instead of {FEW}")
    for way, usage in usages.items():
        check(usage == expected, f"{way} tells another usage: {usage} instead of {expected}")


def strict_schema(binary: str, url: str, work: pathlib.Path) -> None:
    """A base model knows nothing of schemas: what satisfies one was made to do so by the server."""
    schema, out = work / "schema.json", work / "structured.jsonl"
    schema.write_text(json.dumps(SCHEMA))
    for more in [[], ["--stream"]]:
        command = [str(ELEMENTS), "-p", "As JSON, {{ name }} is", "--id-column", "symbol", "--rows", str(FEW), "-o", str(out)]
        command += ["--schema", str(schema), "--max-tokens", "60", "--max-check-retries", "0", *more]
        run(binary, url, "openai", *command, expect=0)
        for record in records(out):
            value = record["output"]
            check(isinstance(value, dict) and set(value) == {"metal", "period"}, f"{more}: the answer is {value}")
            check(isinstance(value["metal"], bool) and value["period"] in range(1, 8), f"{more}: the answer is {value}")
        out.unlink()
        shutil.rmtree(f"{out}.tidegate")


def context_overflow(binary: str, url: str, work: pathlib.Path, wire: str, *more: str) -> None:
    """A prompt larger than the context fails alone, by its cause, and is not tried again."""
    prompts, out = work / "overflow.jsonl", work / f"overflow-{wire}{len(more)}.jsonl"
    rows = [{"id": "short", "prompt": "Water is made of"}, {"id": "long", "prompt": "hydrogen and oxygen " * 1000}]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tidegate(binary, url, str(prompts), "-p", "{{ prompt }}", "-o", str(out), *more, expect=1, wire=wire)
    answers = {record["id"]: record for record in records(out)}
    check(set(answers) == {"short", "long"}, f"{wire}: records of {sorted(answers)}")
    check(answers["short"]["error"] is None, f"{wire}: the short prompt failed: {answers['short']['error']}")
    error = answers["long"]["error"]
    check(error is not None, f"{wire}: a prompt beyond the context is recorded as answered")
    check((error["kind"], error["status"]) == ("too_long", 400), f"{wire}: the overflow is recorded as {error}")
    check(answers["long"]["attempts"] == 1, f"{wire}: the overflow was sent {answers['long']['attempts']} times")


def main() -> None:
    binary, url, work = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    hundred_prompts(binary, url, work)
    every_format(binary, url, work)
    strict_schema(binary, url, work)
    for wire in WIRES:
        context_overflow(binary, url, work, wire)
    context_overflow(binary, url, work, "openai", "--stream")
    print(f"test-llama: {ROWS} answers with the server's own usage and a re-run that sent nothing; {', '.join(WIRES)}, whole and "
          "streamed, with the same usage; a strict schema; overflows by their cause: ok")


if __name__ == "__main__":
    main()

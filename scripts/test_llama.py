"""Runs the tidegate binary against a llama.cpp server and compares the results with what the server itself counted.

Usage: test_llama.py BINARY URL WORK_FOLDER; `test-llama.sh` starts the server and calls this.
"""

import csv
import json
import os
import pathlib
import re
import subprocess
import sys
import urllib.request

ROWS = 100
FEW = 3
MODEL = "gemma-3-270m"
TOKENS = 8
WIRES = ["openai", "responses", "anthropic"]
SCHEMA = {
    "type": "object",
    "properties": {"metal": {"type": "boolean"}},
    "required": ["metal"],
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
    where = ["--base-url", url, "-m", f"anthropic/{MODEL}"]
    if wire != "anthropic":
        where = ["--base-url", f"{url}/v1", "-m", MODEL, "--wire", wire]
    command = [binary, "run", *arguments, *where, "--no-config", "--temperature", "0", "--concurrency", "8"]
    environment = {**os.environ, "ANTHROPIC_API_KEY": "none"}
    code = subprocess.run(command, stdin=subprocess.DEVNULL, env=environment, timeout=600).returncode
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
                check(record["model"].endswith(f"/{MODEL}"), f"{wire} {more}: the model is {record['model']}")
            # What the server had in its cache is another matter from one run to the next.
            usages[wire, *more] = {
                record["id"]: (record["usage"]["input_tokens"], record["usage"]["output_tokens"]) for record in answers}
    expected = usages["openai",]
    check(len(expected) == FEW, f"{len(expected)} records instead of {FEW}")
    for way, usage in usages.items():
        check(usage == expected, f"{way} tells another usage: {usage} instead of {expected}")


def strict_schema(binary: str, url: str, work: pathlib.Path) -> None:
    """A base model knows nothing of schemas: what satisfies one was made to do so by the server. A grammar takes it long for
    each token, so this is a single short answer, whole and in pieces."""
    schema = work / "schema.json"
    schema.write_text(json.dumps(SCHEMA))
    for more in [[], ["--stream"]]:
        out = work / f"structured{len(more)}.jsonl"
        # Without examples the model spends its tokens on the blanks that JSON allows.
        prompt = 'Iron {"metal":true}\nHelium {"metal":false}\nCopper {"metal":true}\n{{ name }} '
        command = [str(ELEMENTS), "-p", prompt, "--id-column", "symbol", "--rows", "1", "-o", str(out)]
        command += ["--schema", str(schema), "--max-tokens", "60", "--max-check-retries", "0", *more]
        run(binary, url, "openai", *command, expect=0)
        (record,) = records(out)
        value = record["output"]
        check(isinstance(value, dict) and list(value) == ["metal"], f"{more}: the answer is {value}")
        check(isinstance(value["metal"], bool), f"{more}: the answer is {value}")


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

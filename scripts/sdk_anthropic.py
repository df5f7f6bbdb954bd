"""What Anthropic's SDK makes of the simulated provider, and what the simulator's numbers say of `tidegate run`.

Usage: sdk_anthropic.py BINARY
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import anthropic

from sdk_simulator import simulator

KEY = "sk-ant-test"
MODEL = "claude-haiku-4-5"
SCENARIO = {
    "latency": {"fixed": {"ms": 1}},
    "keys": [KEY],
    "models": [MODEL],
    "script": [
        {"contains": "too fast", "status": 429, "retry_after_s": 7},
        {"contains": "too busy", "status": 529},
        {"contains": "too wrong", "status": 400},
        {"contains": "too poor", "status": 402},
        {"contains": "too broken", "status": 500},
    ],
}
WEATHER = {
    "name": "weather",
    "description": "Tells the weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"enum": ["Ulm"]}}, "required": ["city"]},
}


def ask(client, text, **more):
    return client.messages.create(model=MODEL, max_tokens=100, messages=[{"role": "user", "content": text}], **more)


def check_chat(client):
    message = ask(client, "How high is the tide?", system="Be brief.")
    assert message.type == "message" and message.role == "assistant" and message.model == MODEL, message
    assert message.content[0].text.endswith("How high is the tide?"), message
    assert message.stop_reason == "end_turn" and message.usage.input_tokens > 0, message
    assert message._request_id.startswith("req_"), message._request_id
    short = client.messages.create(model=MODEL, max_tokens=1, messages=[{"role": "user", "content": "hi"}])
    assert short.stop_reason == "max_tokens" and short.usage.output_tokens == 1, short


def check_stream(client):
    whole = ask(client, "Tell me more.")
    with client.messages.stream(
        model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "Tell me more."}]
    ) as stream:
        pieces = list(stream.text_stream)
        message = stream.get_final_message()
    assert len(pieces) > 1 and "".join(pieces) == whole.content[0].text == message.content[0].text, pieces
    assert message.usage.output_tokens == whole.usage.output_tokens and message.stop_reason == "end_turn", message


def check_tools(client):
    forced = {"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "weather"}}
    message = ask(client, "Weather?", **forced)
    call = message.content[0]
    assert message.stop_reason == "tool_use" and call.type == "tool_use" and call.input == {"city": "Ulm"}, message
    turns = [{"role": "user", "content": "Weather?"}]
    with client.messages.stream(model=MODEL, max_tokens=100, messages=turns, **forced) as stream:
        assert stream.get_final_message().content[0].input == call.input
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "rain"}
    turns += [{"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    answer = client.messages.create(model=MODEL, max_tokens=100, messages=turns, tools=[WEATHER])
    assert answer.content[0].type == "text", answer


def check_media(client):
    png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    content = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": png}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQK"},
         "title": "bill.pdf", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "What is the total?"},
    ]
    message = ask(client, content)
    assert message.content[0].text.startswith("["), message
    other = ask(client, [{**content[0], "source": {"type": "url", "url": "https://example.com/a.png"}}, *content[1:]])
    assert other.content[0].text != message.content[0].text, "another image gives the same answer"


def check_thinking(client):
    budget = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    turns = [{"role": "user", "content": "Think."}]
    message = client.messages.create(model=MODEL, max_tokens=2000, messages=turns, **budget)
    assert [block.type for block in message.content] == ["thinking", "text"], message
    assert message.content[0].thinking and message.content[0].signature, message
    with client.messages.stream(model=MODEL, max_tokens=2000, messages=turns, **budget) as stream:
        final = [block.model_dump(include={"type", "text", "thinking", "signature"}) for block in
                 stream.get_final_message().content]
    whole = [block.model_dump(include={"type", "text", "thinking", "signature"}) for block in message.content]
    assert final == whole, "the stream says something else"
    turns += [{"role": "assistant", "content": message.content}, {"role": "user", "content": "Go on."}]
    more = client.messages.create(model=MODEL, max_tokens=2000, messages=turns, **budget)
    assert more.content[1].text.endswith("Go on."), more


def check_structure(client):
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}, "required": ["n"]}
    message = ask(client, "A number.", output_config={"format": {"type": "json_schema", "schema": schema}})
    assert json.loads(message.content[0].text)["n"] >= 3, message


def check_errors(client):
    cases = [
        (lambda: ask(client.with_options(api_key="other"), "hi"), anthropic.AuthenticationError, 401),
        (lambda: client.messages.create(model="claude-0", max_tokens=1, messages=[{"role": "user", "content": "hi"}]),
         anthropic.NotFoundError, 404),
        (lambda: client.messages.create(model=MODEL, max_tokens=1, messages=[]), anthropic.BadRequestError, 400),
        (lambda: ask(client, "too wrong"), anthropic.BadRequestError, 400),
        (lambda: ask(client, "too poor"), anthropic.APIStatusError, 402),
        (lambda: ask(client, "too fast"), anthropic.RateLimitError, 429),
        (lambda: ask(client, "too broken"), anthropic.InternalServerError, 500),
        (lambda: ask(client, "too busy"), anthropic.InternalServerError, 529),
    ]
    kinds = {400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 404: "not_found_error",
             429: "rate_limit_error", 500: "api_error", 529: "overloaded_error"}
    for call, expected, status in cases:
        try:
            call()
        except expected as error:
            assert error.status_code == status, error
            assert error.body["error"]["type"] == kinds[status], error.body
            assert error.request_id == error.body["request_id"], error.body
            assert (error.response.headers.get("retry-after") == "7") == (status == 429), error.response.headers
        else:
            raise AssertionError(f"no {status}")


def check_run(binary, url, work):
    """Sends a row in each form that a row may have, and looks at the records."""
    ask_in_body = {"max_tokens": 9, "system": "s", "messages": [{"role": "user", "content": "in a body"}]}
    rows = [
        {"custom_id": "1", "method": "POST", "url": "/v1/messages", "body": {"model": "x", **ask_in_body}},
        {"custom_id": "2", "method": "POST", "url": "/v1/chat/completions", "body": {
            "model": "x", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "translated"}]}},
    ]
    source, out = pathlib.Path(work, "in.jsonl"), pathlib.Path(work, "out.jsonl")
    bill, answers = pathlib.Path(work, "bill.pdf"), pathlib.Path(work, "answers.jsonl")
    bill.write_bytes(b"%PDF-1.4 bill")
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    environment = {**os.environ, "ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": url}
    command = [binary, "run", source, "-m", f"anthropic/{MODEL}", "-o", out]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    replies = {line["custom_id"]: line["response"]["body"] for line in map(json.loads, out.read_text().splitlines())}
    assert replies["1"]["content"][0]["text"].endswith("in a body"), replies
    assert replies["2"]["content"][0]["text"].endswith("translated"), replies
    thinking = 'thinking={"type": "enabled", "budget_tokens": 1024}'
    command = [binary, "run", bill, "-m", f"anthropic/{MODEL}", "-p", "Total of {{ name }}?", "-o", answers]
    done = subprocess.run([*command, "--param", thinking], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record = json.loads(answers.read_text())
    assert record["input"] == {"path": str(bill), "name": "bill.pdf"} and record["usage"]["reasoning_tokens"], record


def main(binary):
    with tempfile.TemporaryDirectory() as work, simulator(binary, SCENARIO) as url:
        with anthropic.Anthropic(api_key=KEY, base_url=url, max_retries=0) as client:
            for check in (check_chat, check_stream, check_tools, check_media, check_thinking, check_structure, check_errors):
                check(client)
                print(f"ok: {check.__name__}")
        check_run(binary, url, work)
        print("ok: check_run")
    print(f"The simulator satisfies anthropic {anthropic.__version__}.")


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))

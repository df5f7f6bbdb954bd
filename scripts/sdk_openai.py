"""What OpenAI's SDK makes of the simulated provider, as OpenAI's and as Azure's, and what `tidegate run` gets from it.

Usage: sdk_openai.py BINARY
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import openai

from sdk_simulator import simulator

KEY = "sk-test"
MODEL = "gpt-5-mini"
VERSION = "2024-10-21"
SCENARIO = {
    "latency": {"fixed": {"ms": 1}},
    "keys": [KEY],
    "models": [MODEL, "text-embedding-3-small"],
    "script": [
        {"contains": "too fast", "status": 429, "retry_after_s": 7},
        {"contains": "too busy", "status": 503},
        {"contains": "too wrong", "status": 400},
        {"contains": "not allowed", "status": 403},
        {"contains": "too broken", "status": 500},
        {"contains": "too rude", "fault": "content_filter"},
    ],
}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}, "required": ["n"]}
WEATHER = {"name": "weather", "parameters": {
    "type": "object", "properties": {"city": {"enum": ["Ulm"]}}, "required": ["city"]}}


def said(text):
    return [{"role": "user", "content": text}]


def chat(client, text, **more):
    return client.chat.completions.create(**{"model": MODEL, "messages": said(text), **more})


def check_chat(client):
    reply = chat(client, "How high is the tide?", n=2)
    texts = [choice.message.content for choice in reply.choices]
    assert texts[0].endswith("How high is the tide?") and texts[0] != texts[1], reply
    assert reply.object == "chat.completion" and reply.usage.prompt_tokens > 0, reply
    assert reply.choices[0].finish_reason == "stop", reply
    assert chat(client, "hi", max_completion_tokens=1).choices[0].finish_reason == "length"


def check_chat_stream(client):
    whole = chat(client, "Tell me more.")
    with client.chat.completions.stream(
        model=MODEL, messages=said("Tell me more."), stream_options={"include_usage": True}
    ) as stream:
        pieces = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert len(pieces) > 1 and "".join(pieces) == final.choices[0].message.content, pieces
    assert final.choices[0].message.content == whole.choices[0].message.content, final
    assert final.usage.completion_tokens == whole.usage.completion_tokens, final


def check_chat_tools(client):
    tool = {"type": "function", "function": {**WEATHER, "strict": True}}
    forced = {"tools": [tool], "tool_choice": {"type": "function", "function": {"name": "weather"}}}
    message = chat(client, "Weather?", **forced).choices[0].message
    call = message.tool_calls[0]
    assert message.content is None and json.loads(call.function.arguments) == {"city": "Ulm"}, message
    with client.chat.completions.stream(model=MODEL, messages=said("Weather?"), **forced) as stream:
        final = stream.get_final_completion().choices[0]
    streamed = final.message.tool_calls[0]
    assert (streamed.id, streamed.function.arguments) == (call.id, call.function.arguments), final
    assert final.finish_reason == "tool_calls", final
    turns = said("Weather?") + [message.to_dict(), {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
    assert chat(client, "", messages=turns, tools=[tool]).choices[0].message.content


def check_chat_structure(client):
    form = {"type": "json_schema", "json_schema": {"name": "number", "schema": SCHEMA}}
    assert json.loads(chat(client, "A number.", response_format=form).choices[0].message.content)["n"] >= 3


def check_embeddings(client):
    reply = client.embeddings.create(model="text-embedding-3-small", input=["ebb", "flow"], dimensions=8)
    assert [len(entry.embedding) for entry in reply.data] == [8, 8], reply


def check_responses(client):
    reply = client.responses.create(model=MODEL, input="How high is the tide?", instructions="Be brief.")
    assert reply.status == "completed" and reply.output_text.endswith("How high is the tide?"), reply
    assert reply.usage.input_tokens > 0 and reply.usage.output_tokens > 0, reply
    short = client.responses.create(model=MODEL, input="hi", max_output_tokens=1)
    assert (short.status, short.incomplete_details.reason) == ("incomplete", "max_output_tokens"), short


def check_responses_stream(client):
    whole = client.responses.create(model=MODEL, input=said("Tell me more."))
    with client.responses.stream(model=MODEL, input=said("Tell me more.")) as stream:
        events = list(stream)
        final = stream.get_final_response()
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(pieces) > 1 and "".join(pieces) == final.output_text == whole.output_text, pieces
    assert events[0].type == "response.created" and events[-1].type == "response.completed", events
    assert final.usage == whole.usage, final


def check_responses_tools(client):
    forced = {"tools": [{"type": "function", "strict": True, **WEATHER}],
              "tool_choice": {"type": "function", "name": "weather"}}
    call = client.responses.create(model=MODEL, input="Weather?", **forced).output[0]
    assert call.type == "function_call" and json.loads(call.arguments) == {"city": "Ulm"}, call
    with client.responses.stream(model=MODEL, input="Weather?", **forced) as stream:
        assert stream.get_final_response().output[0].arguments == call.arguments
    turns = said("Weather?") + [call.to_dict(), {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}]
    assert client.responses.create(model=MODEL, input=turns).output_text


def check_responses_structure(client):
    form = {"format": {"type": "json_schema", "name": "number", "schema": SCHEMA}}
    assert json.loads(client.responses.create(model=MODEL, input="A number.", text=form).output_text)["n"] >= 3


def check_errors(client):
    cases = [
        (lambda: chat(client.with_options(api_key="other"), "hi"), openai.AuthenticationError, "invalid_api_key"),
        (lambda: chat(client, "hi", model="gpt-0"), openai.NotFoundError, "model_not_found"),
        (lambda: client.responses.create(model="gpt-0", input="hi"), openai.NotFoundError, "model_not_found"),
        (lambda: chat(client, "", messages=[]), openai.BadRequestError, None),
        (lambda: chat(client, "too wrong"), openai.BadRequestError, None),
        (lambda: chat(client, "not allowed"), openai.PermissionDeniedError, None),
        (lambda: chat(client, "too fast"), openai.RateLimitError, None),
        (lambda: client.responses.create(model=MODEL, input="too fast"), openai.RateLimitError, None),
        (lambda: chat(client, "too broken"), openai.InternalServerError, None),
        (lambda: chat(client, "too busy"), openai.InternalServerError, None),
    ]
    for call, expected, code in cases:
        error = raised(call, expected)
        assert error.code == code and error.request_id, (error.body, error.request_id)
        hint = error.response.headers.get("retry-after")
        assert (hint == "7") == (expected is openai.RateLimitError), hint
    assert chat(client, "too rude").choices[0].finish_reason == "content_filter"


def raised(call, expected):
    try:
        call()
    except expected as error:
        return error
    raise AssertionError(f"no {expected.__name__}")


def check_azure(url):
    """Azure's class puts the deployment into the path; the newer addresses are for the plain class."""
    classic = openai.AzureOpenAI(azure_endpoint=url, api_key=KEY, api_version=VERSION, max_retries=0)
    newer = openai.OpenAI(base_url=f"{url}/openai/v1", api_key=KEY, max_retries=0)
    for client in (classic, newer):
        with client:
            assert chat(client, "tide").choices[0].message.content.endswith("tide")
            assert client.responses.create(model=MODEL, input="tide").output_text.endswith("tide")
            pieces = [chunk.choices[0].delta.content or "" for chunk in chat(client, "tide", stream=True) if chunk.choices]
            assert "".join(pieces).endswith("tide"), pieces
            assert len(client.embeddings.create(model="text-embedding-3-small", input="x").data[0].embedding) > 1
            missing = raised(lambda: chat(client, "x", model="none"), openai.NotFoundError)
            assert missing.code == "DeploymentNotFound", missing.body
            wrong = raised(lambda: chat(client.with_options(api_key="other"), "hi"), openai.AuthenticationError)
            assert wrong.code == "401", wrong.body
            assert raised(lambda: chat(client, "too fast"), openai.RateLimitError).code == "429"
            filtered = raised(lambda: chat(client, "too rude"), openai.BadRequestError)
            assert filtered.body["innererror"]["code"] == "ResponsibleAIPolicyViolation", filtered.body
            assert filtered.response.headers["apim-request-id"], filtered.response.headers


def run(binary, work, rows, flags, **variables):
    """Sends rows and returns the records by id."""
    source, out = pathlib.Path(work, "in.jsonl"), pathlib.Path(work, f"out{len(os.listdir(work))}.jsonl")
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [binary, "run", source, *flags, "--output-format", "jsonl", "-o", out]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True)
    records = {record["id"]: record for record in map(json.loads, out.read_text().splitlines())} if out.exists() else {}
    assert done.returncode in (0, 1), done.stderr
    return records


def check_run(binary, url, work):
    """Sends a row in each form and by each way, whole and streamed."""
    line = {"method": "POST"}
    rows = [
        {**line, "custom_id": "chat", "url": "/v1/chat/completions", "body": {
            "model": "x", "n": 2, "messages": said("in a chat")}},
        {**line, "custom_id": "response", "url": "/v1/responses", "body": {"model": "x", "input": "in a response"}},
        {**line, "custom_id": "embedding", "url": "/v1/embeddings", "body": {"model": "x", "input": "flow"}},
    ]
    openai_env = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{url}/v1"}
    for more in ([], ["--stream"], ["--wire", "responses"]):
        records = run(binary, work, rows[:2], ["-m", f"openai/{MODEL}", *more], **openai_env)
        answers = records["chat"]["output"]
        assert len(answers) == 2 and answers[0].endswith("in a chat") and answers[0] != answers[1], (more, records)
        assert records["response"]["output"].endswith("in a response"), (more, records)
    records = run(binary, work, rows[2:], ["-m", "openai/text-embedding-3-small", "--wire", "responses"], **openai_env)
    assert len(records["embedding"]["output"]) > 1, records

    prompts = [{"id": text, "prompt": text} for text in ("tide", "too rude", "too wrong")]
    azure = {"AZURE_OPENAI_API_KEY": KEY, "AZURE_OPENAI_ENDPOINT": url}
    bearer = pathlib.Path(work, "bearer.toml")
    bearer.write_text(f"[providers.azure]\nauth = 'bearer'\nkey_command = 'echo {KEY}'\napi_version = '{VERSION}'\n")
    ways = [
        ({}, []), ({"OPENAI_API_VERSION": VERSION}, []), ({}, ["--stream"]), ({}, ["--wire", "responses"]),
        ({}, ["-c", str(bearer)]),
    ]
    for variables, flags in ways:
        records = run(binary, work, prompts, ["-m", f"azure/{MODEL}", *flags], **azure, **variables)
        assert records["tide"]["output"].endswith("tide"), (flags, records)
        kinds = {id: record["error"]["kind"] for id, record in records.items() if record["error"]}
        assert kinds == {"too rude": "content_filter", "too wrong": "bad_request"}, (flags, records)


def main(binary):
    checks = (check_chat, check_chat_stream, check_chat_tools, check_chat_structure, check_embeddings, check_responses,
              check_responses_stream, check_responses_tools, check_responses_structure, check_errors)
    with tempfile.TemporaryDirectory() as work, simulator(binary, SCENARIO) as url:
        with openai.OpenAI(api_key=KEY, base_url=f"{url}/v1", max_retries=0) as client:
            for check in checks:
                check(client)
                print(f"ok: {check.__name__}")
        check_azure(url)
        print("ok: check_azure")
        check_run(binary, url, work)
        print("ok: check_run")
    print(f"The simulator satisfies openai {openai.__version__}.")


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))

"""Runs Google's SDK and the tidegate binary against `tidegate sim` and checks what each of them understands.

Usage: sdk_gemini.py BINARY; `sdk-gemini.sh` installs the SDK and calls this.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import pydantic
from google import genai
from google.genai import errors, types
from google.oauth2 import service_account

from sdk_simulator import check, simulator

ELEMENTS = pathlib.Path(__file__).parent.parent / "examples" / "elements.csv"
KEY = "right-key"
MODEL = "gemini-2.5-flash"
SCENARIO = f"""
latency: {{fixed: {{ms: 1}}}}
keys: [{KEY}]
models: [{MODEL}, gemini-embedding-001, text-embedding-005]
script:
- {{contains: overloaded please, status: 503}}
- {{contains: fail please, status: 500}}
- {{contains: filter please, fault: content_filter}}
"""
LIMITED = "limits: [{of: requests, limit: 1, per_s: 86400}]"


def client(url: str, version: str | None = None, key: str = KEY) -> genai.Client:
    options = types.HttpOptions(base_url=url, api_version=version)
    return genai.Client(api_key=key, http_options=options)


class City(pydantic.BaseModel):
    name: str
    people: int
    rivers: list[str]


def check_chat(sdk: genai.Client) -> None:
    reply = sdk.models.generate_content(model=MODEL, contents="How high is the tide?")
    check(reply.text.endswith("] How high is the tide?"), f"the answer is {reply.text!r}")
    usage = reply.usage_metadata
    check(usage.prompt_token_count == 6, f"the prompt has {usage.prompt_token_count} tokens")
    check(usage.total_token_count == 6 + usage.candidates_token_count, f"the usage is {usage}")
    check(reply.model_version == MODEL and bool(reply.response_id), "model and id are missing")
    check(reply.candidates[0].finish_reason == types.FinishReason.STOP, "the answer did not stop")
    config = types.GenerateContentConfig(system_instruction="Be brief.", max_output_tokens=2, candidate_count=2)
    short = sdk.models.generate_content(model=MODEL, contents="x" * 99, config=config)
    reasons = [candidate.finish_reason for candidate in short.candidates]
    check(reasons == [types.FinishReason.MAX_TOKENS] * 2, f"the short answers ended by {reasons}")


def check_stream(sdk: genai.Client) -> None:
    whole = sdk.models.generate_content(model=MODEL, contents="Tell me about the sea and the moon.").text
    chunks = list(sdk.models.generate_content_stream(model=MODEL, contents="Tell me about the sea and the moon."))
    check(len(chunks) > 2, f"the stream has {len(chunks)} chunks")
    check("".join(chunk.text or "" for chunk in chunks) == whole, "the stream says something else")
    check(chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP, "the stream did not stop")


def check_tools(sdk: genai.Client) -> None:
    city = types.Schema(type=types.Type.STRING, enum=["Ulm"])
    parameters = types.Schema(type=types.Type.OBJECT, properties={"city": city}, required=["city"])
    height = types.FunctionDeclaration(name="height", description="Of a city.", parameters=parameters)
    calling = types.FunctionCallingConfig(mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=["height"])
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[height])],
        tool_config=types.ToolConfig(function_calling_config=calling))
    question = types.Content(role="user", parts=[types.Part.from_text(text="How high is Ulm?")])
    reply = sdk.models.generate_content(model=MODEL, contents=[question], config=config)
    (call,) = reply.function_calls
    check((call.name, call.args) == ("height", {"city": "Ulm"}), f"the call is {call}")
    check(reply.candidates[0].finish_reason == types.FinishReason.STOP, "the call did not stop")
    chunks = list(sdk.models.generate_content_stream(model=MODEL, contents=[question], config=config))
    streamed = [call for chunk in chunks for call in chunk.function_calls or []]
    check([call.args for call in streamed] == [call.args], f"the streamed calls are {streamed}")
    result = types.Part.from_function_response(name="height", response={"output": "478 metres"})
    turns = [question, reply.candidates[0].content, types.Content(role="user", parts=[result])]
    check(bool(sdk.models.generate_content(model=MODEL, contents=turns).text), "there is no answer to the result")


def check_media(sdk: genai.Client) -> None:
    image = types.Part.from_bytes(data=b"\x89PNG\r\n\x1a\n", mime_type="image/png")
    stored = types.Part.from_uri(file_uri="gs://tides/low.pdf", mime_type="application/pdf")
    reply = sdk.models.generate_content(model=MODEL, contents=[image, stored, "What is it?"])
    check(reply.text.startswith("["), f"the answer is {reply.text!r}")
    check(reply.usage_metadata.prompt_token_count > 10, "the image counts for nothing")


def check_caches(sdk: genai.Client) -> None:
    config = types.CreateCachedContentConfig(
        system_instruction="Be brief. " * 500, display_name="tides", ttl="300s")
    cache = sdk.caches.create(model=MODEL, config=config)
    check(cache.usage_metadata.total_token_count > 1024, f"the cache holds {cache.usage_metadata}")
    listed = [one.name for one in sdk.caches.list() if one.display_name == "tides"]
    check(listed == [cache.name], f"the caches are {listed}")
    longer = sdk.caches.update(name=cache.name, config=types.UpdateCachedContentConfig(ttl="7200s"))
    check(longer.expire_time > cache.expire_time, "the cache does not last longer")
    asked = types.GenerateContentConfig(cached_content=cache.name)
    reply = sdk.models.generate_content(model=MODEL, contents="hi", config=asked)
    usage = reply.usage_metadata
    check(usage.cached_content_token_count == cache.usage_metadata.total_token_count, f"the usage is {usage}")
    check(sdk.caches.get(name=cache.name).display_name == "tides", "the cache has another name")
    sdk.caches.delete(name=cache.name)
    short = types.CreateCachedContentConfig(system_instruction="Be brief.")
    for call in (lambda: sdk.models.generate_content(model=MODEL, contents="hi", config=asked),
                 lambda: sdk.caches.create(model=MODEL, config=short)):
        try:
            call()
        except errors.ClientError as error:
            check(error.code in (400, 403), f"it was refused with {error.code}")
        else:
            check(False, "a cache that is not there was used")


def check_vertex(url: str) -> None:
    """Vertex AI's paths, and an access token that the SDK fetches itself with a service account's key."""
    key = pathlib.Path(__file__).parent.parent / "crates/tidegate/src/call/google/test-key.pem"
    info = {"client_email": "tide@example.iam", "private_key": key.read_text(), "token_uri": f"{url}/token"}
    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
    account = service_account.Credentials.from_service_account_info(info, scopes=scopes)
    options = types.HttpOptions(base_url=url)
    sdk = genai.Client(vertexai=True, project="p", location="l", credentials=account, http_options=options)
    check_chat(sdk)
    check_stream(sdk)
    check_caches(sdk)
    # The older models for embeddings have a method of their own.
    reply = sdk.models.embed_content(model="text-embedding-005", contents=["a", "b"], config=types.EmbedContentConfig(output_dimensionality=16))
    check([len(entry.values) for entry in reply.embeddings] == [16, 16], f"the vectors are {reply}")
    check(reply.embeddings[0].statistics.token_count == 1, f"the tokens are {reply}")


def check_embeddings(sdk: genai.Client) -> None:
    config = types.EmbedContentConfig(output_dimensionality=16)
    reply = sdk.models.embed_content(model="gemini-embedding-001", contents=["a", "b"], config=config)
    vectors = [entry.values for entry in reply.embeddings]
    check([len(vector) for vector in vectors] == [16, 16] and vectors[0] != vectors[1], f"the vectors are {vectors}")


def check_schema(sdk: genai.Client) -> None:
    by_class = types.GenerateContentConfig(response_mime_type="application/json", response_schema=City)
    reply = sdk.models.generate_content(model=MODEL, contents="A city.", config=by_class)
    check(isinstance(reply.parsed, City), f"no city in {reply.text!r}")
    schema = City.model_json_schema()
    by_json = types.GenerateContentConfig(response_mime_type="application/json", response_json_schema=schema)
    reply = sdk.models.generate_content(model=MODEL, contents="A city.", config=by_json)
    City.model_validate_json(reply.text)
    free = types.GenerateContentConfig(response_mime_type="application/json")
    json.loads(sdk.models.generate_content(model=MODEL, contents="Anything.", config=free).text)


def refused(sdk: genai.Client, code: int, status: str, text: str = "hi", model: str = MODEL) -> errors.APIError:
    try:
        sdk.models.generate_content(model=model, contents=text)
    except errors.APIError as error:
        kind = errors.ClientError if code < 500 else errors.ServerError
        check(isinstance(error, kind), f"{error!r} is not a {kind.__name__}")
        check((error.code, error.status) == (code, status), f"{code} {status} came as {error.code} {error.status}")
        return error
    sys.exit(f"sdk-gemini: FAILED: no error instead of {code} {status}")


def check_errors(url: str) -> None:
    bad = refused(client(url, key="wrong-key"), 400, "INVALID_ARGUMENT")
    reasons = [detail.get("reason") for detail in bad.details["error"]["details"]]
    check(reasons == ["API_KEY_INVALID"], f"the bad key's reasons are {reasons}")
    sdk = client(url)
    refused(sdk, 404, "NOT_FOUND", model="gemini-0")
    refused(sdk, 503, "UNAVAILABLE", text="overloaded please")
    refused(sdk, 500, "INTERNAL", text="fail please")
    filtered = sdk.models.generate_content(model=MODEL, contents="filter please")
    check(filtered.candidates[0].finish_reason == types.FinishReason.SAFETY, "the filter did not stop the answer")
    try:
        list(sdk.models.generate_content_stream(model=MODEL, contents="overloaded please"))
        check(False, "a stream was not refused")
    except errors.ServerError as error:
        check(error.code == 503, f"a stream was refused with {error.code}")


def check_quota(url: str) -> None:
    sdk = client(url)
    sdk.models.generate_content(model=MODEL, contents="one")
    error = refused(sdk, 429, "RESOURCE_EXHAUSTED")
    kinds = [detail["@type"].rsplit(".", 1)[1] for detail in error.details["error"]["details"]]
    check(kinds == ["QuotaFailure", "RetryInfo"], f"the quota's details are {kinds}")
    quota = error.details["error"]["details"][0]["violations"][0]
    check("PerDay" in quota["quotaId"] and quota["quotaValue"] == "1", f"the quota is {quota}")


def tidegate(binary: str, url: str, work: pathlib.Path, *arguments: str, expect: int) -> list[dict]:
    out = work / "out.jsonl"
    command = [binary, "run", str(ELEMENTS), "--id-column", "symbol", "-m", f"gemini/{MODEL}", "--base-url", url]
    command += ["-o", str(out), "--no-config", "--quiet", *arguments]
    environment = {**os.environ, "GEMINI_API_KEY": KEY}
    code = subprocess.run(command, stdin=subprocess.DEVNULL, env=environment, timeout=120).returncode
    check(code == expect, f"exit code {code} instead of {expect}: {' '.join(command)}")
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def check_run(binary: str, url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        records = tidegate(binary, url, pathlib.Path(folder), "-p", "Say {{ name }}", expect=0)
    check(len(records) > 100, f"only {len(records)} records")
    for record in records:
        check(record["output"].endswith(f"] Say {record['input']['name']}"), f"wrong answer: {record}")
        check(record["cost_usd"] > 0 and record["usage"]["input_tokens"] > 0, f"no cost: {record}")


def check_shared_cache(binary: str, url: str) -> None:
    prompt = ["-p", "Say {{ name }}", "--system", "Be brief. " * 500]
    with tempfile.TemporaryDirectory() as folder:
        arguments = [*prompt, "--context-cache", "10m", "--delete-context-cache"]
        records = tidegate(binary, url, pathlib.Path(folder), *arguments, expect=0)
    cached = sum(record["usage"]["cached_tokens"] > 1024 for record in records)
    check(cached == len(records) - 1, f"{cached} of {len(records)} rows used the cache")
    sdk = client(url, "v1beta")
    check(not list(sdk.caches.list()), "the cache was not deleted")


def main(binary: str) -> None:
    with simulator(binary, SCENARIO) as url:
        # Version 3 of the SDK speaks v1, earlier ones v1beta.
        for version in [None, "v1beta"]:
            sdk = client(url, version)
            check_chat(sdk)
            check_stream(sdk)
            check_embeddings(sdk)
            check_schema(sdk)
            check_tools(sdk)
            check_media(sdk)
        check_caches(client(url, "v1beta"))
        check_vertex(url)
        check_errors(url)
        check_run(binary, url)
        check_shared_cache(binary, url)
    with simulator(binary, LIMITED) as url:
        check_quota(url)
    print(f"sdk-gemini: google-genai {genai.__version__} and tidegate understand the simulator: chat, stream, "
          "embeddings, schemas, media, caches, Vertex AI, errors")


main(sys.argv[1])

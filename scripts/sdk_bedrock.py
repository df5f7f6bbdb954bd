"""Runs AWS's SDK and the tidegate binary against `tidegate sim` and checks what each of them understands.

Usage: sdk_bedrock.py BINARY; `sdk-bedrock.sh` installs the SDK and calls this.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

import boto3
import botocore.config
import botocore.exceptions

from sdk_simulator import check, simulator

ELEMENTS = pathlib.Path(__file__).parent.parent / "examples" / "elements.csv"
MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
PROFILE_ONLY = "anthropic.claude-3-5-haiku-20241022-v1:0"
TITAN, COHERE = "amazon.titan-embed-text-v2:0", "cohere.embed-english-v3"
IDS = ["AKIAONE", "secret-one"], ["AKIATWO", "secret-two", "token-two"]
SCENARIO = f"""
latency: {{fixed: {{ms: 1}}}}
keys: [{":".join(IDS[0])}, {":".join(IDS[1])}, bearer-key]
models: ["{MODEL}", "us.{PROFILE_ONLY}", "eu.{PROFILE_ONLY}", "{TITAN}", "{COHERE}"]
dimensions: 32
script:
- {{contains: slow down please, status: 429}}
- {{contains: overloaded please, status: 503}}
- {{contains: fail please, status: 500}}
- {{contains: filter please, fault: content_filter}}
"""


def client(url: str, key: list[str] = IDS[0], region: str = "us-east-1", service: str = "bedrock-runtime"):
    names = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"]
    once = botocore.config.Config(retries={"total_max_attempts": 1})
    return boto3.client(service, region, endpoint_url=url, config=once, **dict(zip(names, key)))


def ask(text: str) -> list[dict]:
    return [{"role": "user", "content": [{"text": text}]}]


def check_chat(sdk) -> None:
    limit = {"maxTokens": 100, "temperature": 0.5, "stopSequences": ["END"]}
    reply = sdk.converse(modelId=MODEL, messages=ask("How high is the tide?"), system=[{"text": "Be brief."}], inferenceConfig=limit)
    text = reply["output"]["message"]["content"][0]["text"]
    check(text.endswith("] How high is the tide?"), f"the answer is {text!r}")
    usage = reply["usage"]
    check(usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"] > 8, f"the usage is {usage}")
    check(reply["stopReason"] == "end_turn" and bool(reply["ResponseMetadata"]["RequestId"]), f"no end or id: {reply}")
    short = sdk.converse(modelId=MODEL, messages=ask("x" * 99), inferenceConfig={"maxTokens": 2})
    check(short["stopReason"] == "max_tokens", "the short answer is not cut")
    filtered = sdk.converse(modelId=MODEL, messages=ask("filter please"))
    check(filtered["stopReason"] == "content_filtered", "the filter did not stop the answer")


def check_stream(sdk) -> None:
    question = ask("Tell me about the sea and the moon.")
    whole = sdk.converse(modelId=MODEL, messages=question)
    events = list(sdk.converse_stream(modelId=MODEL, messages=question)["stream"])
    texts = [event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event]
    check(len(texts) > 2, f"the stream has {len(texts)} pieces")
    check("".join(texts) == whole["output"]["message"]["content"][0]["text"], "the stream says something else")
    check(events[-1]["metadata"]["usage"] == whole["usage"], "the stream tells another usage")
    check(events[-2]["messageStop"]["stopReason"] == "end_turn", "the stream did not stop")


def check_tools(sdk) -> None:
    schema = {"type": "object", "properties": {"metres": {"type": "integer"}}, "required": ["metres"]}
    tools = {"tools": [{"toolSpec": {"name": "tide", "inputSchema": {"json": schema}}}], "toolChoice": {"any": {}}}
    reply = sdk.converse(modelId=MODEL, messages=ask("How high?"), toolConfig=tools)
    call = reply["output"]["message"]["content"][0]["toolUse"]
    check(call["name"] == "tide" and isinstance(call["input"]["metres"], int), f"the call is {call}")
    check(reply["stopReason"] == "tool_use", f"the call ended by {reply['stopReason']}")
    events = list(sdk.converse_stream(modelId=MODEL, messages=ask("How high?"), toolConfig=tools)["stream"])
    start = next(event["contentBlockStart"]["start"] for event in events if "contentBlockStart" in event)
    pieces = [event["contentBlockDelta"]["delta"]["toolUse"]["input"] for event in events if "contentBlockDelta" in event]
    check(start["toolUse"]["name"] == "tide" and json.loads("".join(pieces)) == call["input"], "the streamed call differs")
    result = {"toolResult": {"toolUseId": call["toolUseId"], "content": [{"text": "3"}]}}
    turns = [*ask("How high?"), reply["output"]["message"], {"role": "user", "content": [result, {"text": "So?"}]}]
    check(sdk.converse(modelId=MODEL, messages=turns, toolConfig={"tools": tools["tools"]})["stopReason"] == "end_turn", "no end")


def check_invoke(sdk) -> None:
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 99, "messages": [{"role": "user", "content": "Tell me about the sea and the moon."}]}
    reply = json.loads(sdk.invoke_model(modelId=MODEL, body=json.dumps(body))["body"].read())
    check(reply["content"][0]["text"].endswith("] Tell me about the sea and the moon.") and reply["model"] == MODEL, f"the reply is {reply}")
    # What stands beside the vendor's body are headers, which are signed too.
    beside = {"guardrailIdentifier": "g1", "guardrailVersion": "1", "trace": "ENABLED", "serviceTier": "flex", "requestMetadata": '{"a  b": "c"}'}
    guarded = json.loads(sdk.invoke_model(modelId=MODEL, body=json.dumps(body), **beside)["body"].read())
    check(guarded["content"] == reply["content"], f"the guarded reply is {guarded}")
    stream = sdk.invoke_model_with_response_stream(modelId=MODEL, body=json.dumps(body))["body"]
    events = [json.loads(event["chunk"]["bytes"]) for event in stream]
    texts = [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"]
    check(len(texts) > 1 and "".join(texts) == reply["content"][0]["text"], f"the stream says {texts}")
    metrics = events[-1]["amazon-bedrock-invocationMetrics"]
    check(events[-1]["type"] == "message_stop", f"the stream ends with {events[-1]}")
    check(metrics["outputTokenCount"] == reply["usage"]["output_tokens"], f"the stream counts {metrics}")
    body["messages"][0]["content"] = "slow down please"
    try:
        sdk.invoke_model_with_response_stream(modelId=MODEL, body=json.dumps(body))
        check(False, "a stream was not refused")
    except sdk.exceptions.ThrottlingException:
        pass


def check_embeddings(sdk) -> None:
    def ask_for(model: str, **body) -> tuple[dict, dict]:
        reply = sdk.invoke_model(modelId=model, body=json.dumps(body))
        return json.loads(reply["body"].read()), reply["ResponseMetadata"]["HTTPHeaders"]

    reply, headers = ask_for(TITAN, inputText="How high is the tide?", dimensions=256)
    check(len(reply["embedding"]) == 256 and reply["inputTextTokenCount"] == 6, f"the embedding is {reply}")
    check(headers["x-amzn-bedrock-input-token-count"] == "6", f"the headers are {headers}")
    reply, headers = ask_for(COHERE, texts=["high", "low"], input_type="search_document")
    check([len(vector) for vector in reply["embeddings"]] == [32, 32], f"the embeddings are {reply}")
    for model, body in [(TITAN, {"texts": ["x"]}), (TITAN, {"inputText": "x", "dimensions": 3}), (COHERE, {"texts": ["x"]})]:
        try:
            ask_for(model, **body)
            check(False, f"{body} was not refused")
        except sdk.exceptions.ValidationException:
            pass


def check_control(url: str) -> None:
    """The control plane: two lists, one of them in pages, signed for the same service."""
    sdk = client(url, service="bedrock")
    listed = {model["modelId"]: model for model in sdk.list_foundation_models()["modelSummaries"]}
    check(sorted(listed) == sorted([MODEL, PROFILE_ONLY, TITAN, COHERE]), f"the models are {sorted(listed)}")
    check(listed[MODEL]["inferenceTypesSupported"] == ["ON_DEMAND"], f"{listed[MODEL]}")
    check(listed[PROFILE_ONLY]["inferenceTypesSupported"] == ["INFERENCE_PROFILE"], f"{listed[PROFILE_ONLY]}")
    check(listed[MODEL]["modelName"] == "Claude 3 Haiku", f"{listed[MODEL]}")
    check([profile["inferenceProfileId"] for profile in profiles(sdk)] == [f"us.{PROFILE_ONLY}"], "not the region's profiles")
    europe = client(url, IDS[1], "eu-west-1", "bedrock")
    check([profile["inferenceProfileId"] for profile in profiles(europe)] == [f"eu.{PROFILE_ONLY}"], "not the region's profiles")
    check(sdk.list_inference_profiles(typeEquals="APPLICATION")["inferenceProfileSummaries"] == [], "profiles of nobody's")
    for key, name in [(["AKIAONE", "wrong"], "InvalidSignatureException"), (["AKIANOBODY", "x"], "UnrecognizedClientException")]:
        try:
            client(url, key, service="bedrock").list_foundation_models()
            check(False, f"{key} may list models")
        except botocore.exceptions.ClientError as error:
            check(error.response["Error"]["Code"] == name, f"{name} came as {error}")


def check_pages(binary: str) -> None:
    """Without `models` in the scenario there are those of the bundled table: enough for several pages."""
    with simulator(binary, "latency: {fixed: {ms: 1}}") as url:
        sdk = client(url, service="bedrock")
        whole = sdk.list_inference_profiles()["inferenceProfileSummaries"]
        pages = list(sdk.get_paginator("list_inference_profiles").paginate(PaginationConfig={"PageSize": 7}))
        check(len(pages) == -(-len(whole) // 7) > 2, f"{len(pages)} pages of {len(whole)} profiles")
        check([profile for page in pages for profile in page["inferenceProfileSummaries"]] == whole, "the pages differ")


def profiles(sdk) -> list[dict]:
    pages = sdk.get_paginator("list_inference_profiles").paginate(PaginationConfig={"PageSize": 1})
    return [profile for page in pages for profile in page["inferenceProfileSummaries"]]


def refused(sdk, name: str, status: int, text: str = "hi", model: str = MODEL, **more) -> str:
    try:
        sdk.converse(modelId=model, messages=ask(text), **more)
    except botocore.exceptions.ClientError as error:
        found = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        check(found == (name, status), f"{name} {status} came as {found}")
        return error.response["Error"]["Message"]
    sys.exit(f"sdk-bedrock: FAILED: no error instead of {name}")


def check_errors(url: str) -> None:
    sdk = client(url)
    refused(sdk, "ThrottlingException", 429, text="slow down please")
    refused(sdk, "ServiceUnavailableException", 503, text="overloaded please")
    refused(sdk, "InternalServerException", 500, text="fail please")
    refused(sdk, "ValidationException", 400, inferenceConfig={"temperature": 1, "topP": 1, "maxTokens": 1}, model="nobody.nothing")
    message = refused(sdk, "ValidationException", 400, model=PROFILE_ONLY)
    check("inference profile" in message, f"the profile is not asked for: {message}")
    refused(client(url, ["AKIAONE", "wrong"]), "InvalidSignatureException", 403)
    refused(client(url, ["AKIANOBODY", "x"]), "UnrecognizedClientException", 403)
    refused(client(url, IDS[1][:2]), "UnrecognizedClientException", 403)
    client(url, IDS[1], "eu-west-1").converse(modelId=MODEL, messages=ask("hi"))
    try:
        sdk.converse_stream(modelId=MODEL, messages=ask("slow down please"))
        check(False, "a stream was not refused")
    except sdk.exceptions.ThrottlingException:
        pass


def check_bearer(url: str) -> None:
    """The SDK sends bearer keys only over TLS, so this goes without it."""
    address = f"{url}/model/{MODEL.replace(':', '%3A')}/converse"
    for key, status in [("bearer-key", 200), ("wrong", 403)]:
        body = json.dumps({"messages": ask("hi")}).encode()
        request = urllib.request.Request(address, body, {"authorization": f"Bearer {key}"})
        try:
            found = urllib.request.urlopen(request, timeout=10).status
        except urllib.error.HTTPError as error:
            found = error.code
            check(error.headers["x-amzn-ErrorType"] == "AccessDeniedException", "the exception has no name")
        check(found == status, f"the bearer key {key} came to {found}")


def tidegate(binary: str, url: str, work: pathlib.Path, model: str, *arguments: str) -> list[dict]:
    """Runs the program with two accounts, each a profile."""
    out = work / "out.jsonl"
    command = [binary, "run", str(ELEMENTS), "--id-column", "symbol", "-p", "Say {{ name }}", "-m", model]
    command += ["--base-url", url, "-o", str(out), "--no-config", "--quiet", *arguments]
    credentials = work / "credentials"
    names = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"]
    sections = [[f"[account{i}]", *(f"{name} = {value}" for name, value in zip(names, key))] for i, key in enumerate(IDS)]
    credentials.write_text("\n".join(line for section in sections for line in section))
    environment = {**os.environ, "AWS_SHARED_CREDENTIALS_FILE": str(credentials)}
    code = subprocess.run(command, stdin=subprocess.DEVNULL, env=environment, timeout=120).returncode
    check(code == 0, f"exit code {code}: {' '.join(command)}")
    return [json.loads(line) for line in out.read_text().splitlines()]


def check_run(binary: str, url: str) -> None:
    where = ["--regions", "us-east-1,eu-west-1", "--aws-profile", "account0,account1"]
    for model, more, expected in [
        ("bedrock/Claude 3 Haiku", ["--region-order", "rotate"], {MODEL}),
        ("bedrock-invoke/Claude 3 Haiku", ["--region-order", "rotate"], {MODEL}),
        ("bedrock/Claude 3.5 Haiku", [], {f"us.{PROFILE_ONLY}"}),
    ]:
        with tempfile.TemporaryDirectory() as folder:
            records = tidegate(binary, url, pathlib.Path(folder), model, *where, *more)
        check(len(records) > 100, f"only {len(records)} records")
        for record in records:
            check(record["output"].endswith(f"] Say {record['input']['name']}"), f"wrong answer: {record}")
        endpoints = {record["endpoint"] for record in records}
        asked = {endpoint.split("/")[1].split("@")[0] for endpoint in endpoints}
        check(asked == expected, f"{model} was asked as {endpoints}")
        check({endpoint.split("#")[1] for endpoint in endpoints} == {"account0", "account1"}, f"{endpoints}")


def main(binary: str) -> None:
    with simulator(binary, SCENARIO) as url:
        sdk = client(url)
        check_chat(sdk)
        check_stream(sdk)
        check_tools(sdk)
        check_invoke(sdk)
        check_embeddings(sdk)
        check_control(url)
        check_errors(url)
        check_bearer(url)
        check_run(binary, url)
    check_pages(binary)
    print(f"sdk-bedrock: boto3 {boto3.__version__} and tidegate understand the simulator: signatures, chat, stream, "
          "tools, InvokeModel whole and streamed, embeddings, the control plane, errors, profiles")


main(sys.argv[1])

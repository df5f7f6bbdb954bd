"""Files of pyarrow's that `tidegate` reads, files of its that pyarrow reads, and both in an S3 bucket of moto's.

Usage: test_data.py BINARY
"""

import base64
import contextlib
import datetime
import http.server
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading

import boto3
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
from moto.server import ThreadedMotoServer

AWS = {
    "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}  # fmt: skip


class Place:
    """A folder, and the program in it."""

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, pathlib.Path(folder)
        self.environment = {"HOME": folder, "PATH": os.environ["PATH"]}

    def run(self, *arguments, code=0):
        done = subprocess.run(
            [self.binary, *arguments], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == code, (arguments, done.returncode, done.stderr, done.stdout)
        return done

    def ask(self, rows, out, *more, prompt="{{ text }}", code=0):
        return self.run("run", *rows, "-m", "sim/echo", "-p", prompt, "-o", out, "--quiet", *more, code=code)


def table(rows):
    start = datetime.datetime(2024, 2, 29, 13, tzinfo=datetime.timezone.utc)
    numbers = range(rows)
    return pa.table({
        "id": pa.array(numbers, pa.int32()),
        "text": [f"row {n}" for n in numbers],
        "at": pa.array([start + datetime.timedelta(minutes=n) for n in numbers], pa.timestamp("ms", "UTC")),
        "day": pa.array([datetime.date(2024, 1, 1)] * rows, pa.date32()),
        "price": pa.array([None if n % 7 == 0 else n / 4 for n in numbers], pa.float32()),
        "vector": pa.array([[n, 0.1, -2.5] for n in numbers], pa.list_(pa.float32(), 3)),
        "tags": pa.array([["a", "b"][: n % 3] for n in numbers], pa.list_(pa.string())),
        "kind": pa.array([["red", "blue"][n % 2] for n in numbers]).dictionary_encode(),
        "wide": pa.array([f"w{n}" for n in numbers], pa.large_string()),
    })  # fmt: skip


KEPT = ["id", "text", "at", "day", "price", "vector"]


def check_files(place):
    """Every kind of file, packed in every way, goes through a run and comes back with its types."""
    whole = table(2500)
    files = {"plain.parquet": lambda path: pq.write_table(whole, path, row_group_size=700)}
    for codec in ["snappy", "gzip", "zstd", "lz4", "none"]:
        files[f"{codec}.parquet"] = lambda path, codec=codec: pq.write_table(whole, path, compression=codec, version="2.6")
    for codec in ["lz4", "zstd", "uncompressed"]:
        files[f"{codec}.feather"] = lambda path, codec=codec: feather.write_feather(whole, path, compression=codec)

    def stream(path):
        with pa.ipc.new_stream(path, whole.schema) as writer:
            writer.write_table(whole, max_chunksize=300)

    files["stream.arrows"] = stream
    for name, write in files.items():
        write(str(place.folder / name))
        out = f"{name}.out.parquet"
        place.ask([name], out, "--ordered", "--fields", "id,text,at,day,price,vector,tags,kind,output")
        back = pq.read_table(place.folder / out)
        for column in KEPT:
            assert back[column].type == whole[column].type, (name, column, back[column].type)
            assert back[column].to_pylist() == whole[column].to_pylist(), (name, column)
        assert json.loads(back["tags"][2].as_py()) == ["a", "b"] and back["kind"][1].as_py() == "blue"
        assert back["output"][7].as_py().endswith("row 7")
    pq.write_table(whole, place.folder / "brotli.parquet", compression="brotli")
    assert "packed with BROTLI" in place.ask(["brotli.parquet"], "x.jsonl", code=2).stderr
    odd = pa.table({"text": ["a"], "took": pa.array([1], pa.duration("s"))})
    feather.write_feather(odd, str(place.folder / "odd.feather"))
    assert "the column `took` is of the type Duration(s)" in place.ask(["odd.feather"], "x.jsonl", code=2).stderr


def check_outputs(place):
    """What we write is read by others: our own columns too, and embeddings as vectors."""
    place.folder.joinpath("rows.jsonl").write_text("".join(f'{{"id":{n},"text":"t{n}"}}\n' for n in range(100)))
    for name, read in [("a.parquet", pq.read_table), ("a.arrow", feather.read_table), ("a.arrows", read_stream)]:
        place.ask(["rows.jsonl"], name)
        found = read(str(place.folder / name))
        assert found.num_rows == 100 and found["id"].type == pa.int64() and found["cost_usd"].type == pa.float64(), found.schema
        assert found["input_tokens"].to_pylist()[0] > 0 and found["error_kind"].null_count == 100
    place.run("run", "rows.jsonl", "-m", "sim/embed", "--embed", "text", "-o", "v.parquet", "--quiet")
    vectors = pq.read_table(place.folder / "v.parquet")["output"]
    assert pa.types.is_fixed_size_list(vectors.type) and vectors.type.value_type == pa.float32(), vectors.type
    place.run("export", "v.parquet", "-o", "v.jsonl.zst")
    written = pa.CompressedInputStream(str(place.folder / "v.jsonl.zst"), "zstd").read().splitlines()
    by_id = {row["id"]: row["output"] for row in map(json.loads, written)}
    ids = pq.read_table(place.folder / "v.parquet")["id"].to_pylist()
    for row, vector in zip(ids, vectors.to_pylist()):
        assert [float(n) for n in pa.array(by_id[row], pa.float32()).to_pylist()] == vector
    packed = pa.CompressedOutputStream(str(place.folder / "rows.jsonl.zst"), "zstd")
    packed.write(place.folder.joinpath("rows.jsonl").read_bytes())
    packed.close()
    place.ask(["rows.jsonl.zst"], "b.csv.gz", "--ordered")
    assert pa.CompressedInputStream(str(place.folder / "b.csv.gz"), "gzip").read().count(b"\n") == 101


def read_stream(path):
    with pa.ipc.open_stream(path) as reader:
        return reader.read_all()


@contextlib.contextmanager
def bucket(place):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        place.environment |= AWS | {"AWS_ENDPOINT_URL": address}
        client = boto3.client(
            "s3", endpoint_url=address, aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
        )
        client.create_bucket(Bucket="lake")
        yield client
    finally:
        server.stop()


def check_store(place, client):
    """Inputs from a bucket, one by one and by pattern; outputs into it, whole, with the journal here."""
    lines = [f'{{"id":{n},"text":"t{n}","more":"{random.randbytes(100).hex()}"}}\n' for n in range(60_000)]
    client.put_object(Bucket="lake", Key="in/a.jsonl", Body="".join(lines[:1000]).encode())
    client.put_object(Bucket="lake", Key="in/b.jsonl", Body="".join(lines[1000:1200]).encode())
    client.put_object(Bucket="lake", Key="in/c.txt", Body=b"no")
    assert "--journal" in place.ask(["s3://lake/in/a.jsonl"], "s3://lake/out.jsonl", code=2).stderr
    place.ask(["s3://lake/in/*.jsonl"], "s3://lake/out/all.csv", "--journal", "all", "--ordered")
    found = client.get_object(Bucket="lake", Key="out/all.csv")["Body"].read().decode().splitlines()
    assert len(found) == 1201 and found[1].startswith("0,t0,") and found[1200].startswith("1199,t1199,"), len(found)
    # The same command sends nothing, and a row more is one more.
    client.put_object(Bucket="lake", Key="in/b.jsonl", Body="".join(lines[1000:1201]).encode())
    place.run("run", "s3://lake/in/*.jsonl", "-m", "sim/echo", "-p", "{{ text }}", "-o", "s3://lake/out/all.csv", "--journal", "all", "--summary", "s.json")
    assert json.loads(place.folder.joinpath("s.json").read_text())["succeeded"] == 1
    assert client.get_object(Bucket="lake", Key="out/all.csv")["Body"].read().count(b"\n") == 1202

    # Larger than a part: read in ranges, uploaded in parts.
    client.put_object(Bucket="lake", Key="large.jsonl", Body="".join(lines).encode())
    place.ask(["s3://lake/large.jsonl"], "large.jsonl", "--concurrency", "256")
    place.run("export", "large.jsonl", "-o", "s3://lake/large.parquet", "--ordered")
    place.run("export", "large.jsonl", "-o", "s3://lake/large.out.jsonl", "--ordered")
    size = client.head_object(Bucket="lake", Key="large.out.jsonl")["ContentLength"]
    tag = client.head_object(Bucket="lake", Key="large.out.jsonl")["ETag"]
    assert size > 20 << 20 and "-" in tag, (size, tag)
    assert not client.list_multipart_uploads(Bucket="lake").get("Uploads")
    client.download_file("lake", "large.parquet", str(place.folder / "large.parquet"))
    assert pq.read_table(place.folder / "large.parquet", columns=["id"])["id"].to_pylist() == list(range(60_000))
    place.ask(["s3://lake/large.parquet"], "again.jsonl", "--rows", "2000", prompt="{{ output }} {{ id + 1 }}")
    assert sum(1 for _ in place.folder.joinpath("again.jsonl").open()) == 2000
    missing = place.ask(["s3://lake/none.jsonl"], "x.jsonl", code=2).stderr
    assert "s3://lake/none.jsonl: there is no such object" in missing, missing


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def check_media(place, client):
    """Images in a bucket are fetched and sent as bytes, except to a provider that reads the bucket itself."""
    client.put_object(Bucket="lake", Key="photos/a.png", Body=PNG)
    rows = [{"id": 1, "photo": "s3://lake/photos/a.png"}, {"id": 2, "photo": "s3://lake/photos/none.png"}]
    place.folder.joinpath("photos.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ["run", "photos.jsonl", "-p", "What is this?", "--image-column", "photo"]
    shown = place.run(*asked, "-m", "sim/echo", "--dry-run", "--rows", "1")
    assert base64.b64encode(PNG).decode()[:40] in shown.stdout + shown.stderr, shown
    place.run(*asked, "-m", "sim/echo", "-o", "photos.out.jsonl", "--quiet", code=1)
    records = {row["id"]: row for row in map(json.loads, place.folder.joinpath("photos.out.jsonl").open())}
    assert records[1]["error"] is None, records[1]
    assert "s3://lake/photos/none.png: there is no such object" in records[2]["error"]["message"], records[2]
    # The same command sends nothing again; a picture that was changed is asked about anew.
    place.run(*asked, "-m", "sim/echo", "-o", "photos.out.jsonl", "--quiet", "--summary", "p.json", "--rows", "1")
    assert json.loads(place.folder.joinpath("p.json").read_text())["succeeded"] == 0
    client.put_object(Bucket="lake", Key="photos/a.png", Body=PNG + b"!")
    assert "asks something else now" in place.run(
        *asked, "-m", "sim/echo", "-o", "photos.out.jsonl", "--quiet", "--rows", "1", code=2
    ).stderr
    nova = place.run(*asked, "-m", "bedrock/amazon.nova-lite-v1:0", "--regions", "us-east-1", "--dry-run", "--rows", "1")
    assert '"s3://lake/photos/a.png"' in nova.stdout + nova.stderr, nova


def check_web(place, rows):
    """A file of a web server that answers with parts, moves things, and is out of order now and then."""
    content = "".join(f'{{"id":{n},"text":"t{n}"}}\n' for n in range(rows)).encode()
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path == "/moved.jsonl":
                return self.reply(302, {"Location": "/rows.jsonl"})
            if len(asked) % 3 == 0:
                return self.reply(503, {})
            if self.path == "/whole.jsonl":
                return self.reply(200, {}, content)
            start, end = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
            part = content[start : end + 1]
            self.reply(206, {"Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(content)}", "ETag": '"1"'}, part)

        def reply(self, status, headers, body=b""):
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        place.ask([f"{base}/moved.jsonl"], "web.jsonl")
        assert sum(1 for _ in place.folder.joinpath("web.jsonl").open()) == rows
        assert "only the whole file" in place.ask([f"{base}/whole.jsonl"], "w.jsonl", code=2).stderr
        assert "can only be read" in place.ask(["web.jsonl"], f"{base}/out.jsonl", "--journal", "j", prompt="{{ output }}", code=2).stderr
    finally:
        server.shutdown()


def main(binary):
    with tempfile.TemporaryDirectory() as folder:
        place = Place(binary, folder)
        check_files(place)
        check_outputs(place)
        with bucket(place) as client:
            check_store(place, client)
            check_media(place, client)
        check_web(place, 3000)
    print("test-data: pyarrow reads what we write and we read what it writes; S3 and https work")


main(sys.argv[1])

"""Compares what the documentation says with what the program says about itself; called by check-docs.sh.

The program is asked, not its source: `--help` lists flags, and an unknown key is refused with a list of the known ones.
"""

import json
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

binary = sys.argv[1]
paths = [pathlib.Path(name) for name in ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "ARCHITECTURE.md"]]
pages = {path: path.read_text() for path in [*paths, *sorted(pathlib.Path("docs").glob("*.md"))]}
readme, config = pages[pathlib.Path("README.md")], pages[pathlib.Path("docs/config.md")]
formats = pages[pathlib.Path("docs/formats.md")]
simulator, record = pages[pathlib.Path("docs/simulator.md")], pages[pathlib.Path("docs/record.md")]
problems = []
UNKNOWN = "zzqqzz"
# Flags of other programs that the pages name.
FOREIGN = {"--workspace", "--locked", "--path", "--lib", "--open", "--example"}


def differ(what, documented, real):
    problems.extend(f"{what}: `{name}` is not documented" for name in sorted(real - documented))
    problems.extend(f"{what}: `{name}` is documented, but there is no such thing" for name in sorted(documented - real))


def ask(*arguments, cwd=None, stdin=""):
    done = subprocess.run([binary, *arguments], cwd=cwd, input=stdin, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def flags(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text))


def flags_of(command):
    return set(re.findall(r"^ +(?:-\w, +)?(--[a-z][a-z0-9-]+)", ask(*command, "--help")[1], re.M))


def check_flags():
    # With the program's own flags, which belong to no command.
    commands = re.findall(r"^  (\w+) ", re.search(r"Commands:\n(.*?)\n\n", ask("--help")[1], re.S)[1], re.M) + [""]
    real = {command: flags_of(command.split()) for command in commands if command != "help"}
    for command in real:
        page = simulator if command == "sim" else readme
        for flag in sorted(real[command] - flags(page) - {"--help"}):
            problems.append(f"`{flag}` of `tidegate {command}` is not documented")
    everything = set().union(*real.values()) | FOREIGN
    for path, page in pages.items():
        # What stands behind cargo are its own flags.
        for flag in sorted(flags(re.sub(r"cargo (bench|build|install|run|test) [^`\n]*", "", page)) - everything):
            problems.append(f"{path}: there is no `{flag}`")


def tables(page, heading):
    """Returns the keys in the first column of each table, by the heading above it."""
    found, section = {}, None
    for line in page.splitlines():
        if line.startswith("#"):
            section = heading(line)
        row = re.match(r"\| (`[^|]+`) \|(.*)", line)
        if section is not None and row:
            found.setdefault(section, {}).update(dict.fromkeys(re.findall(r"`([\w.-]+)`", row[1]), row[2]))
    return found


def known_keys(message):
    listed = re.search(r"(?:there are|expected (?:one of)?) ?(.*)", message)
    return set(re.findall(r"\w+", listed[1])) if listed and UNKNOWN in message else None


def config_keys(folder, section):
    (folder / "t.toml").write_text(f"[{section}]\n{UNKNOWN} = 1\n" if section else f"{UNKNOWN} = 1\n")
    return known_keys(ask("run", "--print-config", "-c", "t.toml", cwd=folder)[2]) or set()


def check_config(folder):
    def heading(line):
        named = re.search(r"^## `\[(.+)\]`$", line)
        return named[1] if named else "" if "Top level" in line else None

    documented = {"": {}} | {name: {} for name in map(heading, config.splitlines()) if name} | tables(config, heading)
    # Where a section is named by the user, the program is asked about one of them; names under [headers] are all the user's.
    example = {"providers.NAME": "providers.openai", 'endpoints."PROVIDER/MODEL"': 'endpoints."openai/gpt-5"'}
    for section, keys in documented.items():
        below = [name.removeprefix(f"{section}.") for name in documented if name and (not section or name.startswith(f"{section}."))]
        if section != "headers":
            described = set(keys) | {name.split(".")[0] for name in below}
            differ(f"docs/config.md [{section}]", described, config_keys(folder, example.get(section, section)))
    named = {flag for keys in documented.values() for row in keys.values() for flag in flags(row.split("|")[0])}
    differ("docs/config.md, flags", named, flags_of(["run"]) - ACTIONS)
    check_defaults(documented, folder)


# Flags without a key: they ask for one action, or name the configuration itself, or one header.
ACTIONS = {"--help", "--check-input", "--dry-run", "--json", "--rows", "--sample", "--redo-changed", "--keep-changed",
           "--retry-failed", "--prune", "--print-config", "--config", "--no-config", "--header"}


def check_defaults(documented, folder):
    section = ""
    for line in ask("run", "--print-config", "--no-config", cwd=folder)[1].splitlines():
        section = re.sub(r"^\[(.*)\]$", r"\1", line) if line.startswith("[") else section
        key, _, value = line.partition(" = ")
        value = value.strip('"')
        if value and value != "[]" and f"`{value}`" not in documented[section][key]:
            problems.append(f"docs/config.md [{section}]: the default of `{key}` is {value}")


def check_scenario(folder):
    probes = {
        "": f"{UNKNOWN}: 1", "latency.fixed": f"latency: {{fixed: {{{UNKNOWN}: 1}}}}",
        "latency.lognormal": f"latency: {{lognormal: {{{UNKNOWN}: 1}}}}", "latency.load": f"latency: {{load: {{{UNKNOWN}: 1}}}}",
        "limits[]": f"limits: [{{{UNKNOWN}: 1}}]", "faults": f"faults: {{{UNKNOWN}: 1}}", "script[]": f"script: [{{{UNKNOWN}: 1}}]",
        "limits[].changes[]": f"limits: [{{of: requests, limit: 1, changes: [{{{UNKNOWN}: 1}}]}}]",
    }

    def heading(line):
        named = re.search(r"^### `(.+)`", line)
        return named[1] if named else "" if line == "### Top level" else None

    documented = tables(simulator, heading)
    for section, yaml in probes.items():
        (folder / "s.yaml").write_text(yaml)
        message = ask("sim", "--scenario", "s.yaml", cwd=folder)[2].splitlines()[0]
        differ(f"docs/simulator.md {section}", set(documented.get(section, {})), known_keys(message) or set())
    differ("docs/simulator.md sections", set(documented), set(probes))


def check_record(folder):
    by_heading = tables(record, lambda line: line.lstrip("# "))
    rows = "id,text\n1,a\n2,b\n"
    (folder / "one-fails.yaml").write_text("script: [{contains: a, status: 400}]")
    run = ["run", "-", "--format", "csv", "-m", "sim/echo", "-p", "{{ text }}", "--repeat", "2", "--quiet",
           "--fallback", "x", "--check", "true", "--scenario", "one-fails.yaml"]
    ask(*run, "-o", "out.jsonl", cwd=folder, stdin=rows)
    ask(*run, "--video-column", "film", "--lossy", "-o", "lossy.jsonl", cwd=folder, stdin="text,film\nb,https://a/b.mp4\n")
    # An answer from the cache, which a sample never is.
    for out in ["asked.jsonl", "found.jsonl"]:
        ask("run", "-", "--format", "csv", "-m", "sim/echo", "-p", "{{ text }}", "--cache", "answers.sqlite", "-o", out, cwd=folder, stdin=rows)
    # Rows that share a call, which samples never do.
    ask("run", "-", "--format", "csv", "-m", "sim/echo", "-p", "{{ text }}", "--dedupe", "--pack", "2", "-o", "shared.jsonl", cwd=folder, stdin=rows + "3,b\n")
    outputs = [folder / name for name in ("out.jsonl", "lossy.jsonl", "found.jsonl", "shared.jsonl")]
    fields = {field for output in outputs for line in output.open() for field in json.loads(line)}
    differ("docs/record.md, the record", set(by_heading["The record"]), fields)
    differ("docs/record.md, the summary", set(by_heading["The summary"]), set(json.loads(ask("report", "out.jsonl", "--json", cwd=folder)[1])))
    ask(*run, "-o", "out.csv", cwd=folder, stdin=rows.replace("id,", "name,"))
    ours = (folder / "out.csv").open().readline().strip().split(",")[2:]
    listed = re.findall(r"`(\w+)`", re.search(r"columns, then (.*?)\. A column", record, re.S)[1].replace("--repeat", "").replace("--fallback", ""))
    if ours != listed:
        problems.append(f"docs/record.md, CSV: the columns are {', '.join(ours)}")
    causes = re.search(r"there are (.*)", ask("run", "-", f"--retry-failed={UNKNOWN}")[2])[1]
    kinds = tables(pages[pathlib.Path("docs/errors.md")], lambda line: line)
    differ("docs/errors.md", set().union(*kinds.values()), set(causes.split(", ")))


def check_commands(folder):
    """Has the program read every `tidegate run` of the pages, without doing it."""
    for path, page in pages.items():
        for block in re.findall(r"```sh\n(.*?)```", page, re.S):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words[:2] == ["tidegate", "run"]:
                    code, _, error = ask(*words[1:], "--print-config", cwd=folder)
                    if code != 0:
                        problems.append(f"{path}: `{line.strip()}` is refused: {error.strip()}")
        for number, block in enumerate(re.findall(r"```toml\n(.*?)```", page, re.S)):
            (folder / "block.toml").write_text(block)
            code, _, error = ask("run", "--print-config", "-c", "block.toml", cwd=folder)
            if code != 0:
                problems.append(f"{path}: the configuration number {number + 1} is refused: {error.strip()}")


def check_library():
    """The Rust of the README is the crate's first example, which is compiled and run."""
    crate = pathlib.Path("crates/tidegate/src/lib.rs").read_text()
    lines = [line.removeprefix("//!").removeprefix(" ") for line in crate.splitlines() if line.startswith("//!")]
    example = "\n".join(lines).split("```\n")[1]
    shown = re.sub(r"(?m)^# .*\n|^#\n", "", example)
    block = re.search(r"```rust\n(.*?)```", readme, re.S)[1]
    if shown.strip() != block.strip():
        problems.append("README.md: the Rust example is not the first one of crates/tidegate/src/lib.rs")


def check_coming_from():
    """Each name of another system has its code: it stands in a Rust block of its section, all of which are doctests."""
    path = pathlib.Path("docs/coming-from.md")
    for section in re.split(r"(?m)^(?=##+ )", pages[path])[1:]:
        heading, code = section.splitlines()[0], "\n".join(re.findall(r"```rust\n(.*?)```", section, re.S))
        rows = re.findall(r"(?m)^\| (?!theirs|system|---)([^|]+) \| (?!none)", section)
        for name in re.findall(r"`([^`]+)`", " ".join(rows)):
            if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", code):
                problems.append(f"{path}: {heading}: `{name}` has no code")


def check_links():
    for path, page in pages.items():
        for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page):
            name, _, anchor = target.partition("#")
            linked = (path.parent / name) if name else path
            if not linked.exists():
                problems.append(f"{path}: {target} leads nowhere")
            elif anchor and anchor not in [re.sub(r"[^\w -]", "", h.lower()).strip().replace(" ", "-") for h in re.findall(r"(?m)^#+ (.*)", linked.read_text())]:
                problems.append(f"{path}: {target} has no such heading")


check_flags()
check_library()
check_coming_from()
check_links()
with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    for check in [check_config, check_scenario, check_record, check_commands]:
        check(folder)
print("\n".join(problems) or "check-docs: the documentation and the program agree", file=sys.stderr if problems else sys.stdout)
sys.exit(bool(problems))

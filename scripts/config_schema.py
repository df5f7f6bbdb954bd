#!/usr/bin/env python3
"""Writes docs/tidegate.schema.json, the JSON Schema of tidegate.toml, for editors; with --check only compares.

The program is asked, not its source: it refuses an unknown key with a list of the known ones and a wrong value with what it expected.
Descriptions and defaults are those of docs/config.md.

  scripts/config_schema.py target/debug/tidegate [--check]
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

binary = str(pathlib.Path(sys.argv[1]).resolve())
SCHEMA = pathlib.Path("docs/tidegate.schema.json")
UNKNOWN = "zzqqzz"
VALUES = {"string": f'"{UNKNOWN}"', "integer": "1", "number": "1.5", "boolean": "true", "array": "[]", "object": "{}"}
WRONG_TYPE = r"must be .*, not (a |true)|invalid type|wanted string or table|not a duration; write \""
# Where the user names the tables, one name that is valid.
NAMES = {"providers": "openai", "endpoints": '"openai/gpt-5"'}
folder = tempfile.TemporaryDirectory()


def refusal(path, value):
    """Returns what the program says against a value at a path of keys; nothing if it takes it."""
    text = value
    for key in reversed(path):
        text = f"[{text}]" if key == "[]" else f"{{ {key} = {text} }}" if key is not path[0] else f"{key} = {text}"
    (pathlib.Path(folder.name) / "t.toml").write_text(text + "\n")
    done = subprocess.run([binary, "run", "--print-config", "-c", "t.toml"], cwd=folder.name, capture_output=True, text=True, timeout=60)
    return done.stderr if done.returncode else ""


def known_keys(path):
    """Returns the keys of a table; nothing if it takes any."""
    message = refusal([*path, UNKNOWN], "1") if path else refusal([UNKNOWN], "1")
    if f"unknown key '{UNKNOWN}'" not in message:
        return None
    return re.findall(r"\w+", message.split("; there are ")[1])


def choices(message):
    """Returns the names that the program would have taken in place of the unknown one."""
    if variants := re.search(r"unknown variant `\w+`, expected (.*)", message):
        return re.findall(r"`([\w-]+)`", variants[1])
    if listed := re.search(r"; there are (.*)", message):
        return listed[1].split(", ")
    return None


def of_table(path, section):
    keys = known_keys(path)
    if keys is not None:
        # Limits and prices stand in several places and are described once.
        names = [section, ".".join(path[-2:]), *path[-1:]]
        rows = next((documented[name] for name in names if name in documented), {})
        properties = {key: described(of_key([*path, key], f"{section}.{key}".lstrip(".")), rows.get(key)) for key in keys}
        return {"type": "object", "properties": properties, "additionalProperties": False}
    name = NAMES.get(path[-1], UNKNOWN)
    inner = next((known for known in documented if re.fullmatch(rf'{re.escape(section)}\.(NAME|"PROVIDER/MODEL")', known)), section)
    return {"type": "object", "additionalProperties": of_key([*path, name], inner)}


def of_key(path, section):
    said = {kind: refusal(path, value) for kind, value in VALUES.items()}
    taken = [kind for kind, message in said.items() if not re.search(WRONG_TYPE, message)]
    if "integer" in taken and "number" in taken:
        taken.remove("integer")
    # A struct may also be read from a list, and a name from a table: nobody writes that.
    taken = ["object"] if set(taken) == {"array", "object"} else ["string"] if set(taken) == {"string", "object"} else taken
    if taken == ["object"]:
        return of_table(path, section)
    if "array" in taken and len(taken) == 1:
        return {"type": "array", "items": of_key([*path, "[]"], section)}
    if taken == ["string"] and (names := choices(said["string"])):
        return {"enum": names}
    if len(taken) == len(VALUES):
        return {}
    return {"type": taken[0] if len(taken) == 1 else taken}


def described(schema, row):
    # | key | flag | default | meaning |
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row or "")]
    if len(cells) < 3:
        return schema
    flag, default, meaning = cells[0], cells[1], cells[2].replace("`", "")
    flag = f" Flag: {flag.strip('`')}." if flag.startswith("`--") else ""
    default = f" Default: {default.replace('`', '')}." if default else ""
    return {"description": f"{meaning}{default}{flag}"} | schema


def read_documentation():
    found, section = {}, None
    for line in pathlib.Path("docs/config.md").read_text().splitlines():
        if line.startswith("#"):
            named = re.search(r"^## `\[(.+)\]`$", line)
            section = named[1] if named else "" if "Top level" in line else None
        row = re.match(r"\| (`[^|]+`) \|(.*)\|$", line)
        if section is not None and row:
            found.setdefault(section, {}).update(dict.fromkeys(re.findall(r"`([\w.-]+)`", row[1]), row[2]))
    return found


documented = read_documentation()
head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "tidegate.toml"}
text = json.dumps(head | of_table([], ""), indent=1, ensure_ascii=False) + "\n"
if "--check" not in sys.argv:
    SCHEMA.write_text(text)
elif SCHEMA.read_text() != text:
    sys.exit(f"config-schema: {SCHEMA} is old; run scripts/config_schema.py {sys.argv[1]}")

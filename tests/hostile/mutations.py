"""Ways to spoil a bundle: pure functions of a seed and a number, but for the files they change."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from tests.hostile.miniature import content_of, rehash, rehash_manifest, replace, write_plan
from tests.hostile.values import NESTED, NUMBERS, TEXTS, any_json

Mutation = Callable[[random.Random, Path], str]


def spoil(folder: Path, seed: int, number: int) -> tuple[str, bool]:
    """Spoils the bundle in `folder`: what was done, and whether its hashes were made to fit."""
    random_ = random.Random(f"bundle {seed} {number}")
    times = 2 if random_.random() < 0.15 else 1
    hashed = random_.random() < 0.8
    done = [_apply(random_.choice(_WEIGHTED), random_, folder) for _ in range(times)]
    if hashed:
        _make_hashes_fit(folder)
    return "; ".join(done) + ("" if hashed else "; hashes as they were"), hashed


def _apply(mutation: Mutation, random_: random.Random, folder: Path) -> str:
    try:
        return mutation(random_, folder)
    except OSError:  # an earlier one left nothing that can be read there
        return "nothing"


def _make_hashes_fit(folder: Path) -> None:
    """As far as the manifest can still be read and the files are there."""
    try:
        files = json.loads(content_of(folder / "manifest.json"))["files"]
        names = [name for name in files if _small(folder / name)]
        if any(_differs(folder, name, files[name]) for name in names):
            rehash(folder, names)
    except (OSError, ValueError, RecursionError, TypeError, KeyError, AttributeError):
        pass
    with contextlib.suppress(OSError):
        rehash_manifest(folder)


def _differs(folder: Path, name: str, entry: Any) -> bool:
    """Whether a file is another than the manifest says. An entry that was spoilt stays spoilt."""
    if not isinstance(entry, dict) or set(entry) != {"size", "sha256"}:
        return False
    fits: bool = hashlib.sha256(content_of(folder / name)).hexdigest() == entry["sha256"]
    return not fits


def _small(path: Path) -> bool:
    return path.is_file() and path.stat().st_size < 2**26


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _name(folder: Path, path: Path) -> str:
    return str(path.relative_to(folder))


def change_bytes(random_: random.Random, folder: Path) -> str:
    """Bits, spans, ends of any file."""
    path = random_.choice(_files(folder))
    content = bytearray(content_of(path))
    at = random_.randrange(len(content) + 1)
    how = random_.choice(
        ["bit", "bits", "cut", "zeros", "noise", "insert", "tail", "head", "empty"]
    )
    if how in ("bit", "bits"):
        for _ in range(1 if how == "bit" else 20):
            if content:
                content[random_.randrange(len(content))] ^= 1 << random_.randrange(8)
    elif how == "cut":
        del content[at:]
    elif how == "zeros":
        content[at : at + 64] = bytes(min(64, len(content) - at))
    elif how == "noise":
        content[at : at + 64] = random_.randbytes(min(64, len(content) - at))
    elif how == "insert":
        content[at:at] = random_.randbytes(random_.choice([1, 7, 4096]))
    elif how == "tail":
        content += random_.choice([b"\0", b"\n", b"}", b"\0" * 4096, b"\xff", random_.randbytes(9)])
    elif how == "head":
        content[:0] = random_.choice([b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b" ", b"[", b"//\n"])
    else:
        content.clear()
    replace(path, bytes(content))
    return f"{how} at {at} of {_name(folder, path)}"


def change_file_kind(random_: random.Random, folder: Path) -> str:
    """Something else in a file's place."""
    path = random_.choice([*_files(folder), folder / "manifest.json", folder / "manifest.sha256"])
    kind = random_.choice(
        [
            "missing",
            "folder",
            "fifo",
            "loop",
            "dangling",
            "outside",
            "zero",
            "sparse",
            "locked",
            "copy",
            "inner",
        ]
    )
    content = content_of(path) if path.is_file() else b""
    if not path.is_dir():
        path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir(exist_ok=True)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "dangling":
        path.symlink_to("nothing")
    elif kind == "outside":
        path.symlink_to("/etc/hostname")
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    elif kind == "sparse":
        with path.open("wb") as stream:
            stream.truncate(2**31)
    elif kind == "locked":
        path.write_bytes(content)
        path.chmod(0)
    elif kind == "copy":
        replace(path, content_of(random_.choice(_files(folder))))
    elif kind == "inner":
        path.symlink_to(random_.choice(_files(folder)))
    return f"{_name(folder, path)} is {kind}"


def change_manifest(random_: random.Random, folder: Path) -> str:
    """The manifest's values, names and structure."""
    return _change_json(random_, folder / "manifest.json", folder)


def change_any_json(random_: random.Random, folder: Path) -> str:
    """Those of palette, tokenizer, profile and plans."""
    found = [p for p in _files(folder) if p.suffix == ".json" and p.name != "manifest.json"]
    return _change_json(random_, random_.choice(found), folder) if found else "nothing"


def change_palette(random_: random.Random, folder: Path) -> str:
    """The palette's."""
    path = folder / "palette.json"
    return _change_json(random_, path, folder) if path.is_file() else "nothing"


def change_merges(random_: random.Random, folder: Path) -> str:
    """Lines of the tokenizer's merges."""
    path = folder / "tokenizer" / "merges.txt"
    if not path.is_file():
        return "nothing"
    lines = content_of(path).split(b"\n")
    at = random_.randrange(len(lines))
    how = random_.choice(["delete", "double", "swap", "junk", "three", "one", "long", "latin"])
    if how == "delete":
        del lines[at]
    elif how == "swap":
        lines[at], lines[0] = lines[0], lines[at]
    else:
        words = {
            "double": lines[at],
            "junk": random_.randbytes(12),
            "three": b"a b c",
            "one": b"a",
            "long": b"a" * 100_000 + b" b",
            "latin": b"\xe9 \xff",
        }
        lines.insert(at, words[how])
    replace(path, b"\n".join(lines))
    return f"{how} at line {at} of merges.txt"


def change_plan(random_: random.Random, folder: Path) -> str:
    """A plan's description, under the name that the changed one must have."""
    path = next((folder / "plans" / "tensorrt").glob("*.json"), None)
    if path is None:
        return "nothing"
    try:
        document = json.loads(content_of(path))
        covers = document["covers"]
    except (OSError, ValueError, KeyError, TypeError):
        return "nothing"
    what = _change_value(random_, covers)
    try:
        write_plan(folder, covers, document)
    except (TypeError, ValueError, AttributeError, RecursionError):
        return "nothing"
    return f"a plan covers: {what}"


def change_graph(random_: random.Random, folder: Path) -> str:
    """An ONNX file that can still be read as one."""
    found = [path for path in _files(folder) if path.suffix == ".onnx"]
    if not found:
        return "nothing"
    path = random_.choice(found)
    try:
        model = onnx.load(path, load_external_data=False)
        what = random_.choice(_GRAPH_CHANGES)(random_, model)
        replace(path, model.SerializeToString())
    except (ValueError, IndexError, OSError):
        return "nothing"
    except Exception as error:  # protobuf's, of a file that another mutation broke
        if "protobuf" not in type(error).__module__:
            raise
        return "nothing"
    return f"{_name(folder, path)}: {what}"


def _change_port(random_: random.Random, model: onnx.ModelProto) -> str:
    side = random_.choice(["input", "output"])
    ports = getattr(model.graph, side)
    port = random_.choice(list(ports))
    how = random_.choice(["remove", "rename", "type", "rank", "size", "symbol", "double"])
    named, tensor = port.name, port.type.tensor_type
    if how == "remove":
        ports.remove(port)
    elif how == "rename":
        port.name = (
            random_.choice([*TEXTS[:5], "sample", "noise_pred"]).encode("utf-8", "replace").decode()
        )
    elif how == "type":
        tensor.elem_type = random_.choice([*range(24), 99])
    elif how == "rank":
        tensor.shape.dim.add(dim_value=1)
    elif how == "double":
        ports.add().CopyFrom(port)
    elif tensor.shape.dim:
        dim = random_.choice(list(tensor.shape.dim))
        if how == "size":
            dim.dim_value = random_.choice([0, 1, 3, -1, 2**31, 2**62])
        else:
            dim.dim_param = random_.choice(["batch", "height", "", "x y"])
    return f"{how} {side} {named}"


def _change_node(random_: random.Random, model: onnx.ModelProto) -> str:
    node = random_.choice(list(model.graph.node))
    how = random_.choice(["remove", "type", "rewire", "domain", "self", "attribute"])
    was = f"{node.op_type} {','.join(node.output)[:40]}"
    if how == "remove":
        model.graph.node.remove(node)
    elif how == "type":
        node.op_type = random_.choice(["Relu", "NoSuchOp", "Conv", "MatMul", "Loop", "If", ""])
    elif how == "rewire" and node.input:
        other = random_.choice(list(model.graph.node))
        node.input[0] = (list(other.output) or [""])[0]
    elif how == "domain":
        node.domain = random_.choice(["fgdm", "com.microsoft", "nowhere"])
    elif how == "self" and node.input:
        node.input[0] = node.output[0]
    else:
        node.attribute.add(name="axis", type=onnx.AttributeProto.INT, i=2**40)
    return f"{how} {was}"


def _change_external(random_: random.Random, model: onnx.ModelProto) -> str:
    tensor = random_.choice([t for t in model.graph.initializer if t.external_data])
    how = random_.choice(["location", "offset", "length", "dims", "type", "drop"])
    if how == "dims":
        tensor.dims[random_.randrange(len(tensor.dims))] = random_.choice([0, -1, 2**40, 2**62])
    elif how == "type":
        tensor.data_type = random_.choice([0, 1, 7, 8, 16, 99])
    elif how == "drop":
        del tensor.external_data[random_.randrange(len(tensor.external_data))]
    else:
        entry = next(e for e in tensor.external_data if e.key == how)
        entry.value = random_.choice(
            ["../../../etc/passwd", "/dev/zero", "", "nothing", "manifest.json", "."]
            if how == "location"
            else ["-1", "0", "x", "99999999999", "9223372036854775807", "18446744073709551616"]
        )
    return f"{how} of external {tensor.name}"


def _change_model(random_: random.Random, model: onnx.ModelProto) -> str:
    how = random_.choice(["ir", "opset", "no opset", "no nodes", "no graph", "no initializers"])
    if how == "ir":
        model.ir_version = random_.choice([0, 1, 99, -1])
    elif how == "opset":
        model.opset_import[0].version = random_.choice([0, 1, 7, 99, -1])
    elif how == "no opset":
        del model.opset_import[:]
    elif how == "no nodes":
        del model.graph.node[:]
    elif how == "no graph":
        model.ClearField("graph")
    else:
        del model.graph.initializer[:]
    return how


_GRAPH_CHANGES = [_change_port, _change_port, _change_node, _change_external, _change_model]


def _change_json(random_: random.Random, path: Path, folder: Path) -> str:
    try:
        document = json.loads(content_of(path))
    except (OSError, ValueError, RecursionError):
        return "nothing"
    if random_.random() < 0.05:
        document, what = any_json(random_), "replaced as a whole"
    elif isinstance(document, (dict, list)):
        what = _change_value(random_, document)
    else:
        return "nothing"
    text = json.dumps(document, indent=random_.choice([None, 1]))
    depth = random_.choice([60, 1000, 100_000])
    brackets = random_.choice(["[]", '{"a":}'])
    text = text.replace(
        json.dumps(NESTED),
        brackets[:-1] * depth + ("1" if "a" in brackets else "") + brackets[-1] * depth,
    )
    if random_.random() < 0.03 and '"name"' in text:
        text, what = text.replace('"name"', '"name": 1, "name"', 1), what + ", a name twice"
    replace(path, text.encode("utf-8", "surrogatepass"))
    return f"{_name(folder, path)}{what}"


def _change_value(random_: random.Random, document: Any) -> str:
    """Changes one place of a document in place; where, and how."""
    places = list(_places(document, ""))
    if not places:
        return " is empty"
    # Files and ports are many; what few places hold must be met as often.
    by_depth: dict[int, list[tuple[Any, Any, str]]] = {}
    for place in places:
        by_depth.setdefault(place[2].count("/"), []).append(place)
    parent, key, where = random_.choice(by_depth[random_.choice(sorted(by_depth))])
    value = parent[key]
    how = random_.choice(["delete", "replace", "tweak", "rename", "extra", "swap", "repeat"])
    if how == "delete":
        del parent[key]
    elif how == "rename" and isinstance(parent, dict):
        parent[random_.choice([*TEXTS, f"{key} ", str(key).upper()])] = parent.pop(key)
    elif how == "extra" and isinstance(parent, dict):
        parent[random_.choice(TEXTS)] = any_json(random_)
    elif how == "swap":
        other, other_key, _ = random_.choice(places)
        taken = copy.deepcopy(other[other_key])
        parent[key] = taken
        how = f"swap with {other_key}"
    elif how == "repeat" and isinstance(value, list):
        parent[key] = value * random_.choice([0, 2, 300])
    elif how == "tweak" and isinstance(value, (int, float)) and not isinstance(value, bool):
        parent[key] = random_.choice(
            [value + 1, value - 1, value * 2, -value, value + 0.5, *NUMBERS]
        )
    elif how == "tweak" and isinstance(value, str):
        parent[key] = random_.choice([value.upper(), value + " ", value[:-1], value * 50, *TEXTS])
    else:
        parent[key] = any_json(random_)
        how = "replace"
    shown = json.dumps(parent.get(key, "gone") if isinstance(parent, dict) else parent)[:80]
    return f"{where}: {how}, now {shown}"


def _places(document: Any, where: str) -> Any:
    """Every (parent, key, path) of a document."""
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        yield document, key, f"{where}/{str(key)[:60]}"
        if isinstance(value, (dict, list)):
            yield from _places(value, f"{where}/{str(key)[:60]}")


_WEIGHTED: list[Mutation] = [
    *[change_manifest] * 9,
    *[change_bytes] * 4,
    *[change_file_kind] * 2,
    *[change_any_json] * 2,
    *[change_palette] * 2,
    change_merges,
    change_plan,
    *[change_graph] * 4,
]

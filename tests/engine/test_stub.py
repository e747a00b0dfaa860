"""Protects that the stub of the compiled module says what the module has."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources

import pytest
from fgdm import _core

#: What a stub can't say: pybind11's metaclass, and its constructor, which takes anything to refuse
#: it, of the classes that only the core makes.
METACLASS = {
    "DeviceArray",
    "StepInfo",
    "Candidate",
    "FactorResult",
    "Result",
    "Job",
    "Engine",
    "Tokenizer",
    "NoiseSchedule",
    "Selection",
    "Inversion",
}
CONSTRUCTOR = {"DeviceArray", "StepInfo", "Candidate", "FactorResult", "Result", "Job"}

#: pybind11's words for types, and the stub's.
WORDS = {
    r"typing\.SupportsInt( \| typing\.SupportsIndex)?": "int",
    r"typing\.SupportsFloat( \| typing\.SupportsIndex)?": "float",
    r"typing\.Annotated\[(.*), .FixedSize\(\d+\).\]": r"\1",  # an array of C++
    r"numpy\.typing\.": "npt.",
    r"numpy\.": "np.",
    r"collections\.abc\.|typing_extensions\.|types\.|fgdm\._core\.": "",
}

#: Where pybind11 says less than the stub: it knows nothing of what is in a dictionary, of what a
#: function takes, of numbers that it takes for a timedelta, nor of keywords by name.
STUB_KNOWS_MORE = {
    "DeviceArray.shape": ("() -> tuple", "() -> tuple[int, ...]"),
    "DeviceArray.device": ("() -> tuple", "() -> tuple[int, int]"),
    "DeviceArray.numpy": ("() -> np.ndarray", "() -> npt.NDArray[Any]"),
    "DeviceArray.__dlpack_device__": ("() -> tuple", "() -> tuple[int, int]"),
    "Engine.dlpack_device": ("() -> tuple", "() -> tuple[int, int]"),
    "Engine.take_array": (
        "(name: str, value: object) -> object",
        "(name: str, value: object) -> DeviceArray | None",
    ),
    "Result.parameters": ("() -> object", "() -> dict[str, object]"),
    "Result.inversion": ("() -> Inversion", "() -> Inversion | None"),
    "Inversion.settings": ("() -> object", "() -> dict[str, Any]"),
    "Inversion.__init__": (
        "(*, settings: dict, bundle: str, height: int, width: int, "
        "picture: typing.Annotated[npt.ArrayLike, np.uint8], "
        "latents: typing.Annotated[npt.ArrayLike, np.float32], "
        "remainders: typing.Annotated[npt.ArrayLike, np.float32], "
        "visited: typing.Annotated[npt.ArrayLike, np.float32]) -> None",
        "(*, settings: dict[str, Any], bundle: str, height: int, width: int, "
        "picture: npt.NDArray[np.uint8], latents: npt.NDArray[np.float32], "
        "remainders: npt.NDArray[np.float32], visited: npt.NDArray[np.float32]) -> None",
    ),
    "Engine.metrics": ("() -> dict", "() -> dict[str, Any]"),
    "check_map": (
        "(palette_json: str, labels: typing.Annotated[npt.ArrayLike, np.uint8], "
        "requirements_json: str, min_area: float, opening: int) -> dict",
        "(palette_json: str, labels: npt.NDArray[np.uint8], requirements_json: str, "
        "min_area: float, opening: int) -> dict[str, Any]",
    ),
    "number_instances": (
        "(labels: typing.Annotated[npt.ArrayLike, np.uint8], min_area: float, opening: int) "
        "-> npt.NDArray[np.uint32]",
        "(labels: npt.NDArray[np.uint8], min_area: float, opening: int) -> npt.NDArray[np.uint32]",
    ),
    "compile_graphs": (
        "(bundle: str, *, backend: str, precision: str, threads: int, library: str, "
        "plugins: Sequence[str], device: int, contexts: str, each: Callable) -> None",
        "(bundle: str, *, backend: str, precision: str, threads: int, library: str, "
        "plugins: Sequence[str], device: int, contexts: str, "
        "each: Callable[[tuple[str, bool, float, int, list[str]]], object]) -> None",
    ),
    "Job.when_done": (
        "(function: Callable) -> None",
        "(function: Callable[[], object]) -> None",
    ),
    "Job.wait": (
        "(timeout: datetime.timedelta | None=None) -> bool",
        "(timeout: float | None=None) -> bool",
    ),
    "hand_lines_to": (
        "(function: object) -> None",
        "(function: Callable[[bool, str], object]) -> None",
    ),
    "Engine.submit": (
        "(prompt: str, **kwargs) -> Job",
        "(prompt: str, *, step_callback: Callable[[StepInfo], bool | None] | None=None, "
        "map_callback: Callable[[str, Candidate, int, bool], bool | None] | None=None, "
        "select_callback: Callable[[str, list[Candidate]], int | None] | None=None, "
        "**options: object) -> Job",
    ),
}


def test_the_stub_has_the_compiled_modules_names() -> None:
    pytest.importorskip("mypy", reason="mypy isn't installed")
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "--concise", "fgdm._core"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert sorted(done.stdout.splitlines()) == sorted(
        [f"fgdm._core.{name} is inconsistent, metaclass differs" for name in METACLASS]
        + [
            f'fgdm._core.{name}.__init__ is inconsistent, stub does not have *args parameter "args"'
            for name in CONSTRUCTOR
        ]
    ), done.stderr


def written(function: ast.FunctionDef, is_method: bool) -> str:
    """A signature without `self`."""
    if is_method:
        first = [*function.args.posonlyargs, *function.args.args][0]
        (function.args.posonlyargs or function.args.args).remove(first)
    assert function.returns is not None, function.name
    return f"({ast.unparse(function.args)}) -> {ast.unparse(function.returns)}"


def stub_signatures() -> Iterator[tuple[str, str]]:
    stub = (resources.files("fgdm") / "_core.pyi").read_text(encoding="utf-8")
    for statement in ast.parse(stub).body:
        if isinstance(statement, ast.FunctionDef):
            yield statement.name, written(statement, is_method=False)
        elif isinstance(statement, ast.ClassDef):
            for member in statement.body:
                if isinstance(member, ast.FunctionDef):
                    yield f"{statement.name}.{member.name}", written(member, is_method=True)


def from_docstring(member: object, is_method: bool) -> str | None:
    """The signature that pybind11 puts in the first line of a docstring."""
    function = member.fget if isinstance(member, property) else member
    found = re.match(r"\w*(\(.*\) -> .*)", (callable(function) and function.__doc__) or "")
    if found is None:
        return None
    signature = found[1]
    for theirs, ours in WORDS.items():
        signature = re.sub(theirs, ours, signature)
    (parsed,) = ast.parse(f"def _{signature}: ...").body
    assert isinstance(parsed, ast.FunctionDef)
    return written(parsed, is_method)


def compiled_signatures() -> Iterator[tuple[str, str]]:
    for name, value in vars(_core).items():
        if inspect.isclass(value):
            for member_name, member in vars(value).items():
                if (signature := from_docstring(member, is_method=True)) is not None:
                    yield f"{name}.{member_name}", signature
        elif (signature := from_docstring(value, is_method=False)) is not None:
            yield name, signature


def test_the_stub_has_the_compiled_modules_signatures() -> None:
    """Names, kinds, defaults and types; stubtest can't see them in a pybind11 module."""
    stub, compiled = dict(stub_signatures()), dict(compiled_signatures())
    assert len(compiled) > 50
    for name, (theirs, ours) in STUB_KNOWS_MORE.items():
        assert compiled[name] == theirs
        compiled[name] = ours
    assert stub == compiled

"""Writes cpp/src/text/unicode_tables.inc, the Unicode data behind the tokenizer.

    python cpp/tools/generate_unicode.py [--check] [PATH]

CLIP prompts must become the ids that the model was trained on, so the tables describe what the
reference, the `tokenizers` package, does today and not what one Unicode version says: its
normaliser, its lowercase and its regular expressions follow three different versions. Every table
entry is asked of the package itself; Python's `unicodedata` only says which code points to ask
about and, for combining marks and decompositions, the value that the answer has to confirm. The
versions differ in characters added after Unicode 9 only, and normalisation is stable for all
others, so this selects entries and never changes one.
"""

import argparse
import sys
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

import tokenizers
from tokenizers import Regex, normalizers

DEFAULT_PATH = Path(__file__).resolve().parents[1] / "src" / "text" / "unicode_tables.inc"
HANGUL_SYLLABLES = range(0xAC00, 0xD7A4)
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]

Row = tuple[int, ...]


def ranges(code_points: Iterable[int]) -> list[Row]:
    """Joins code points into inclusive (first, last) ranges, in ascending order."""
    rows: list[Row] = []
    for code_point in sorted(code_points):
        if rows and rows[-1][1] + 1 == code_point:
            rows[-1] = (rows[-1][0], code_point)
        else:
            rows.append((code_point, code_point))
    return rows


def matching(pattern: str) -> list[Row]:
    """Ranges of the code points that the reference's regular expressions match with `pattern`."""
    replace = normalizers.Replace(Regex(pattern), "")
    return ranges(c for c in CODE_POINTS if not replace.normalize_str(chr(c)))


def lowercase() -> list[Row]:
    """(first, last, stride, delta): each stride-th code point of a range lowers to itself + delta.

    U+0130 alone lowers to two characters; the C++ side handles it.
    """
    lower = normalizers.Lowercase().normalize_str
    rows: list[Row] = []
    for code_point in CODE_POINTS:
        lowered = lower(chr(code_point))
        if lowered == chr(code_point):
            continue
        if len(lowered) != 1:
            if (code_point, lowered) != (0x130, "i\u0307"):
                sys.exit(f"U+{code_point:04X} lowers to {lowered!r}: teach unicode.cpp that")
            continue
        delta = ord(lowered) - code_point
        if rows and rows[-1][3] == delta:
            first, last, stride, _ = rows[-1]
            step = code_point - last
            if step in (1, 2) and (first == last or step == stride):
                rows[-1] = (first, code_point, step, delta)
                continue
        rows.append((code_point, code_point, 1, delta))
    return rows


def combining_classes(nfc: Callable[[str], str]) -> list[Row]:
    """(first, last, class) of the marks that the reference reorders."""
    base = "\u4e00"
    rows: list[Row] = []
    for code_point in CODE_POINTS:
        mark, value = chr(code_point), unicodedata.combining(chr(code_point))
        if not value:
            continue
        # U+0345 has the highest class (240) and U+0334 the lowest (1); the base composes with none.
        order = ("\u0345" + mark) if value < 240 else (mark + "\u0334")
        if nfc(base + order) != base + unicodedata.normalize("NFC", order[::-1]):
            continue
        if rows and rows[-1][1] + 1 == code_point and rows[-1][2] == value:
            rows[-1] = (rows[-1][0], code_point, value)
        else:
            rows.append((code_point, code_point, value))
    return rows


def decompositions(nfc: Callable[[str], str], nfd: Callable[[str], str]) -> list[Row]:
    """(code point, first, second or 0, 1 if the pair composes): canonical, one step, no Hangul."""
    rows: list[Row] = []
    for code_point in CODE_POINTS:
        mapping = unicodedata.decomposition(chr(code_point))
        if not mapping or mapping.startswith("<") or code_point in HANGUL_SYLLABLES:
            continue
        if nfd(chr(code_point)) != unicodedata.normalize("NFD", chr(code_point)):
            continue
        first, second = ([int(part, 16) for part in mapping.split()] + [0])[:2]
        composes = second and nfc(chr(first) + chr(second)) == chr(code_point)
        rows.append((code_point, first, second, int(bool(composes))))
    return rows


def table(name: str, row_type: str, rows: list[Row]) -> str:
    """One constexpr array; numbers in the shorter of hexadecimal and decimal."""
    cells = ["{" + ",".join(min(str(v), f"{v:#x}", key=len) for v in row) + "}" for row in rows]
    lines, line = [], ""
    for cell in cells:
        if len(line) + len(cell) + 1 > 100:
            lines.append(line)
            line = ""
        line += cell + ","
    body = "\n".join([*lines, line])
    return f"inline constexpr {row_type} {name}[] = {{\n{body}\n}};\n"


def render() -> str:
    """The whole file."""
    nfc, nfd = normalizers.NFC().normalize_str, normalizers.NFD().normalize_str
    parts = [
        "// Written by cpp/tools/generate_unicode.py: run it again instead of editing.\n"
        f"// Follows tokenizers {tokenizers.__version__}, asked with Python's unicodedata "
        f"{unicodedata.unidata_version}.\n// clang-format off\n",
        table("letters", "Range", matching(r"\p{L}")),
        table("numbers", "Range", matching(r"\p{N}")),
        table("spaces", "Range", matching(r"\s")),
        table("lowercases", "CaseRange", lowercase()),
        table("combining_classes", "ClassRange", combining_classes(nfc)),
        table("decompositions", "Decomposition", decompositions(nfc, nfd)),
        "// clang-format on\n",
    ]
    return "\n".join(parts)


def main() -> None:
    """Writes the tables, or compares them with the file."""
    parser = argparse.ArgumentParser(description="Write the tokenizer's Unicode tables.")
    parser.add_argument("path", type=Path, nargs="?", default=DEFAULT_PATH)
    parser.add_argument("--check", action="store_true", help="fail if PATH is out of date")
    arguments = parser.parse_args()
    text = render()
    if not arguments.check:
        arguments.path.write_text(text, encoding="utf-8")
    elif arguments.path.read_text(encoding="utf-8") != text:
        sys.exit(f"{arguments.path} is out of date: run {Path(__file__).name} without --check")


if __name__ == "__main__":
    main()

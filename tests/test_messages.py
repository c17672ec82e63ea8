"""Every message of the code, read by a machine for what a person would stumble over: the strings themselves, not only those that a test happens to see."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kohya_bridge.workspace import PACK_ROOT

from .wording import oddities

ERRORS = {
    "BridgeError", "InvalidInput", "NotFound", "Refused", "Unavailable", "Conflict", "Busy", "StorageError", "UnusableFile",
    "ChildFailure",
}  # fmt: skip
EVIDENCE = {
    "engines/failures.py",
    "engines/child.py",
    "engines/kohya/probe.py",
    "steering/watch.py",
    "__main__.py",
}
"""Where an unknown error keeps its own words: for the log, for evidence, and at the outermost edge."""


class Message(NamedTuple):
    file: str
    line: int
    text: str
    """With `{expression}` where something is filled in."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


def sources() -> Iterator[tuple[str, ast.Module]]:
    for root in (PACK_ROOT / "kohya_bridge", PACK_ROOT / "nodes"):
        for file in sorted(root.rglob("*.py")):
            yield file.relative_to(root).as_posix(), ast.parse(file.read_text("utf-8"))


def text_of(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(each) for each in node.values)
    return f"{{{ast.unparse(node.value)}}}" if isinstance(node, ast.FormattedValue) else ""


def messages() -> Iterator[Message]:
    """Strings of three words and more that are no docstrings."""
    for file, tree in sources():
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)} - {
            id(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
        }  # fmt: skip
        documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, (ast.Constant, ast.JoinedStr)) and id(node) not in inside | documentation:
                text = text_of(node)
                if text.count(" ") >= 2 and re.search("[a-z]{3}", text):
                    yield Message(file, node.lineno, text)


ALL = tuple(messages())


def found(pattern: str, *, but: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment]
    return [str(each) for each in ALL if each.file not in but and re.search(pattern, each.text)]


def test_there_are_messages_to_read():
    assert len(ALL) > 1500 and len({each.file for each in ALL}) > 150


def test_a_counted_thing_stands_in_the_plural_by_the_one_function():
    """`{len(names)} pictures` is wrong for one picture."""
    assert found(r"\{len\([^{}]*\)(?::,)?\} (?:[a-z]+ )?(?!has\b|is\b|was\b|this\b|as\b)[a-z]+s\b") == []
    assert found(r"(?<!counted)\(s\)(?![\w(])|\b(?:process|pictur|fil|run)\(e?s\)") == []


def test_no_message_speaks_of_lines_of_source_or_of_what_a_thing_is_no():
    assert found(r"\(l\.\d|\bl\.\d{2,}, ") == []
    assert found(r"(?:\}|\b[Ii]t|\bthat|\bwhich) is no (?!longer|more|better|worse|room|wire|matter)") == []


def test_no_message_ends_in_the_bare_words_of_a_library_or_the_system():
    assert found(r"\{(?:error|e|exc|exception|str\(error\)|error\.strerror.*?)\}", but=EVIDENCE) == []
    assert found(r"type\((?:error|e)\)\.__name__", but=EVIDENCE) == []


def test_every_error_says_what_to_do():
    """But for those that list wrong fields, which say it for each."""
    silent = []
    for file, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
                named = {each.arg for each in node.keywords}
                fix = node.args[1] if len(node.args) > 1 else None
                if isinstance(fix, ast.Constant) and not fix.value:
                    fix = None
                if fix is None and not named & {"fix", "problems"}:
                    silent.append(f"{file}:{node.lineno}: {ast.unparse(node)[:120]}")
    assert [each for each in silent if "*lines" not in each] == []  # the preflight's lines bring their own


def test_articles_and_verbs_agree():
    odd = [(str(each), oddities(re.sub(r"\{[^{}]*\}", "X", each.text))) for each in ALL]
    assert [text for text, wrong in odd if wrong] == []


def test_a_sentence_of_an_error_begins_well_and_ends_with_a_stop():
    """Problem and fix of what is raised as whole sentences."""
    wrong = []
    for file, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
                for text in [text_of(each) for each in node.args[:2]]:
                    ends = text.rstrip()[-1:] in {".", "?", "!", ":", "}", ""} or text.rstrip().endswith("`")
                    if not ends or "  " in text or text != text.lstrip():
                        wrong.append(f"{file}:{node.lineno}: {text}")
    assert wrong == []


def test_paths_of_the_pack_s_own_source_are_not_told_to_people():
    assert found(r"\b(?:kohya_bridge|engines|steering)/[a-z_]+\.py\b") == []
    assert Path(PACK_ROOT, "kohya_bridge").is_dir()

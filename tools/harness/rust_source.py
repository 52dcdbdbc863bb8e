# SPDX-License-Identifier: GPL-2.0-only
"""Functions of Rust sources, with what their doc comments say. Reads text, not syntax trees: enough for sources that
rustfmt has laid out."""

import re
from dataclasses import dataclass

DOC = re.compile(r"\s*///? ?(.*)")
VISIBLE = r"(?:pub(?:\([a-z]+\))? )?"
ITEM = re.compile(VISIBLE + r"(?:const |unsafe |static )*(fn|struct|enum|trait|type|mod|const|static|impl) (\w+)")
FIELD = re.compile(VISIBLE + r"(\w+)(?::|,$|\()")
BLOCK = re.compile(VISIBLE + r"(?:unsafe )?(struct|enum|trait|impl)\b(?:<.*?>)? ?(.*)")
# Whose text may hold braces: comments, strings, characters (but no lifetimes).
SKIPPED = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\])*\"|'(?:\\.[^']*|[^'\\])'", re.DOTALL)
CONSTANT = re.compile(
    r"(?:return )?(?:(?:Ok|Some|Err)\()?(?:\(\)|-?\d\w*|true|false|None|\"\"|(?:\w+::)*[A-Z]\w*(?:\([\w, ]*\))?)?\)?;?"
)


@dataclass(frozen=True)
class Item:
    """An item, field or variant with a doc comment."""

    path: str
    line: int
    doc: str
    kind: str
    name: str
    owner: str
    """The type or trait around it."""
    body: str
    """Of a function, without comments and white space at its ends; None where there is none."""

    @property
    def place(self):
        """Where it stands."""
        return f"{self.path}:{self.line}"

    @property
    def is_stub(self):
        """Whether the body does nothing."""
        return self.body is not None and (
            "todo!" in self.body or "unimplemented!" in self.body or CONSTANT.fullmatch(self.body) is not None
        )


def items(path, root):
    """All documented items of a file."""
    text = path.read_text()
    lines = text.splitlines()
    relative = str(path.relative_to(root))
    number = 0
    while number < len(lines):
        if not lines[number].lstrip().startswith("///"):
            number += 1
            continue
        indent = len(lines[number]) - len(lines[number].lstrip())
        doc = []
        while number < len(lines) and lines[number].lstrip().startswith(("///", "#[", "//", "$(#[")):
            if lines[number].lstrip().startswith("///"):
                doc.append(DOC.fullmatch(lines[number])[1].lstrip("/ "))
            number += 1
        if number == len(lines):
            return
        kind, name = kind_of(lines[number].strip())
        rest = "\n".join(lines[number:]) if kind == "fn" else ""
        yield Item(
            relative, number + 1, "\n".join(doc), kind, name, owner(lines, number, indent), body(rest) if rest else None
        )


def kind_of(line):
    """What a line declares, and its name."""
    found = ITEM.match(line)
    if found:
        return found[1], found[2]
    found = FIELD.match(line)
    return ("field", found[1]) if found else ("", "")


def owner(lines, number, indent):
    """The name after `struct`, `trait`, `impl` … of the block that holds a line."""
    for line in reversed(lines[:number]):
        if line.strip() and len(line) - len(line.lstrip()) < indent and not line.lstrip().startswith(("//", ")", "}")):
            declared = BLOCK.match(line.lstrip())
            if declared:
                name = re.sub(r"^.* for ", "", declared[2])
                return re.match(r"(?:\w+::)*(\w*)", name)[1]
            indent = len(line) - len(line.lstrip())
            if indent == 0:
                return ""
    return ""


def body(text):
    """What stands between the braces of the function at the start of `text`; None for a declaration."""
    text = SKIPPED.sub(lambda found: '""' if found[0].startswith('"') else " ", text)
    depth = 0
    start = None
    previous = ""
    for position, char in enumerate(text):
        if start is None and depth == 0 and char in ";=":
            return None
        if char == "{" and depth == 0 and start is None:
            start = position + 1
        if char in "([{" or char == "<" and start is None:
            depth += 1
        elif char in ")]}" or char == ">" and start is None and previous not in "-=":
            depth -= 1
            if depth == 0 and start is not None:
                return text[start:position].strip()
        previous = char
    return None

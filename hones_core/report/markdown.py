"""The tables' own Markdown as escaped HTML: headings, pipe tables, lists, bold, code."""

import html
import re
from collections.abc import Iterator

_BOLD = re.compile(r"\*\*(.+?)\*\*")
_CODE = re.compile(r"`(.+?)`")
_LINK = re.compile(r"\[([\w/.-]+)\]\((neurons/[\w./-]+\.html)\)")  # to the pages beside this one
_BAR = re.compile(r"(?<!\\)\|")


def to_html(text: str) -> str:
    """What `tables.render` and `tables.plain` write, as HTML that is safe to show."""
    return "\n".join(_block(block) for block in re.split(r"\n{2,}", text.strip()))


def _block(block: str) -> str:
    lines = block.splitlines()
    if lines[0].startswith("## "):
        return f"<h4>{inline(lines[0][3:])}</h4>"
    if lines[0].startswith("|"):
        return "\n".join(_table(lines))
    if lines[0].startswith("- "):
        items = "".join(f"<li>{inline(line[2:])}</li>" for line in lines)
        return f"<ul>{items}</ul>"
    return f"<p>{inline(' '.join(lines))}</p>"


def inline(text: str) -> str:
    """One line: escaped, then bold, code and links to neurons' pages."""
    escaped = html.escape(text.replace(r"\|", "|"), quote=True)
    marked = _CODE.sub(r"<code>\1</code>", _BOLD.sub(r"<strong>\1</strong>", escaped))
    return _LINK.sub(r'<a href="\2">\1</a>', marked)


def _table(lines: list[str]) -> Iterator[str]:
    head, _, *body = [_BAR.split(line.strip().strip("|")) for line in lines]
    yield '<div class="scroll"><table><thead><tr>'
    yield "".join(f"<th>{inline(cell.strip())}</th>" for cell in head) + "</tr></thead><tbody>"
    for row in body:
        yield "<tr>" + "".join(f"<td>{inline(cell.strip())}</td>" for cell in row) + "</tr>"
    yield "</tbody></table></div>"

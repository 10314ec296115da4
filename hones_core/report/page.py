"""The page itself: sections with verdict, table and figures; the samples; what the run cost."""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hones_core.report.markdown import inline, to_html

HERE = Path(__file__).parent
LONG = 30  # lines of a table, beyond which it is folded


@dataclass(frozen=True)
class Section:
    """One question: what the tables say in words, the tables' Markdown, figures by caption."""

    title: str
    question: str
    verdicts: Sequence[str] = ()
    tables: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Path] = field(default_factory=dict)


def render(
    title: str,
    answers: Sequence[str],
    sections: Sequence[Section],
    samples: dict,
    steps: str,
    facts: Mapping[str, str],
) -> str:
    """The whole page as one HTML text without any reference to another file.

    `answers` are the first screen's sentences, `samples` what `samples.as_json` gives, `steps` what
    `steps.drawing` gives, `facts` the Markdown of the last sections by title. Texts from data files
    are escaped.
    """
    named = [(_anchor(section.title), section) for section in sections]
    links = [(anchor, section.title) for anchor, section in named]
    links += [("samples-section", "Samples"), ("steps", "How it was made")]
    links += [(_anchor(name), name) for name in facts]
    navigation = " ".join(f'<a href="#{anchor}">{html.escape(name)}</a>' for anchor, name in links)
    body = [_section(anchor, section) for anchor, section in named]
    body += [_SAMPLES.format(data=_embedded_json(samples)), _STEPS.format(drawing=steps)]
    body += [
        f'<h2 id="{_anchor(name)}">{html.escape(name)}</h2>{to_html(text)}'
        for name, text in facts.items()
    ]
    return _PAGE.format(
        title=html.escape(title),
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        answers="".join(f"<p>{inline(answer)}</p>" for answer in answers),
        navigation=navigation,
        body="\n".join(body),
        script=(HERE / "page.js").read_text(encoding="utf-8"),
    )


def _section(anchor: str, section: Section) -> str:
    parts = [f'<h2 id="{anchor}">{html.escape(section.title)}</h2>']
    parts.append(f'<p class="question">{inline(section.question)}</p>')
    if section.verdicts:
        said = "".join(f"<p>{inline(verdict)}</p>" for verdict in section.verdicts)
        parts.append(f'<div class="answer">{said}</div>')
    for name, text in section.tables.items():
        body = to_html(text)
        if text.count("\n") > LONG:
            folded = f"<summary>Table {html.escape(name)}</summary>"
            parts.append(f"<details>{folded}{body}</details>")
        else:
            parts.append(f"<h3>{html.escape(name)}</h3>{body}")
    for caption, path in section.figures.items():
        shown = html.escape(caption)
        image = f'<img src="{_svg(path)}" alt="{shown}" loading="lazy">'
        parts.append(f"<figure>{image}<figcaption>{shown}</figcaption></figure>")
    return "\n".join(parts)


def _svg(path: Path) -> str:
    """The figure as a data URI: an image can run no script, and its ids clash with no other's."""
    return "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode()


def _embedded_json(value: dict) -> str:
    """JSON that cannot end the script element it stands in, whatever the texts hold."""
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _anchor(title: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in title.lower())


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="question">Which feed-forward neurons does the model need for each task, and can it be
steered with them?</p>
<div class="answer">{answers}</div>
<nav>{navigation}</nav>
</header>
<main>
{body}
</main>
<script>{script}</script>
</body>
</html>
"""

_SAMPLES = """<h2 id="samples-section">Samples</h2>
<p class="question">What the model answers unchanged, with HONES' neurons silenced, and steered.
Those whose answer or score changes come first; what differs from the unchanged answer is bold. The
last column is the instance's score.</p>
<div class="controls">
<label>model <select id="filter-model"></select></label>
<label>task <select id="filter-task"></select></label>
<label>text <input id="filter-text" type="search"></label>
<label class="tick"><input id="filter-changed" type="checkbox"> only those that change</label>
<span id="shown"></span>
</div>
<div class="cards" id="cards"></div>
<script type="application/json" id="samples">{data}</script>
"""

_STEPS = """<h2 id="steps">How it was made</h2>
<p class="question">The steps behind this page, earlier ones above. A line leads from a step down to
one that reads its output; what a longer way implies has no line of its own. This page reads the
steps with a blue frame. Rest the pointer on a step to see what it read and what it took.</p>
<div class="steps">{drawing}</div>
"""

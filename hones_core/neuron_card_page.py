"""A neuron's card as one HTML page: no script, no network, all text escaped, images inside."""

import base64
import io
import json
from collections.abc import Iterable
from html import escape
from pathlib import Path

import pandas as pd
from PIL import Image

from hones_core.figure_style import RANKER_NAMES, TASK_COLOURS, task_name
from hones_core.neuron_card_data import Card, Sample
from hones_core.neuron_sets import budget
from hones_core.vocabulary import visible

SMALL = 160  # pixels; larger images are shrunk to it
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin: 1.8rem 0 .4rem; }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; } .note { color: #666; margin: .2rem 0 .6rem; }
table { border-collapse: collapse; } th, td { padding: .2rem .8rem .2rem 0; text-align: right;
       border-bottom: 1px solid #e3e3e3; vertical-align: top; } th:first-child, td:first-child {
       text-align: left; } .in { font-weight: 600; } .score { color: #777; font-size: .85em; }
.columns { display: flex; gap: 3rem; flex-wrap: wrap; } .token { white-space: pre; font-family:
       ui-monospace, monospace; } .samples { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { width: 170px; margin: 0; font-size: .82rem; } img { width: 160px; display: block;
       image-rendering: pixelated; } img.photo { image-rendering: auto; }
figcaption { overflow-wrap: anywhere; } .group span { color: #fff; border-radius: 3px;
       padding: .1rem .5rem; margin-right: .3rem; }
pre { font-size: .8rem; overflow-x: auto; color: #555; }
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def card_page(card: Card) -> str:
    """The whole page."""
    name = f"Layer {card.layer}, neuron {card.neuron} of {Path(card.folder).name}"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{escape(name)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(name)}</h1>",
        f'<p class="note">from {escape(card.folder)}; {card.shape[0]} layers of '
        f"{card.shape[1]:,} neurons</p>",
        _membership(card),
        "<h2>Scores</h2>",
        _scores(card),
        "<h2>What it writes</h2>",
        '<p class="note">The logits that it adds to the tokens for z = 1, by the unembedding '
        "without the final norm. \u2423 is a space.</p>",
        '<div class="columns">',
        _tokens("raised by z > 0, lowered by z < 0", card.raised),
        _tokens("lowered by z > 0, raised by z < 0", card.lowered),
        "</div>",
        "<h2>Where it is active</h2>",
        '<p class="note">Discovery samples with the largest |z| at the last prompt token.</p>',
        *(_samples(task, card) for task in card.samples),
        "<h2>Model</h2>",
        f"<pre>{escape(json.dumps(card.model, indent=1, sort_keys=True))}</pre>",
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _membership(card: Card) -> str:
    share = f"top {100 * card.top_ratio:g} % of HONES"
    if not card.group:
        return f"<p>In no task's {escape(share)}.</p>"
    tasks = card.group.split("+")
    marks = "".join(
        f'<span style="background:{TASK_COLOURS.get(task, "#222")}">{escape(name)}</span>'
        for task, name in zip(tasks, map(task_name, tasks), strict=True)
    )
    kind = "of this task and no other" if len(tasks) == 1 else "of these tasks and no other"
    return f'<p class="group">{marks} in the {escape(share)}, {kind}</p>'


def _scores(card: Card) -> str:
    """Ranks and scores: a line for each ranker, a column for each task."""
    tasks = list(card.samples)
    total = card.shape[0] * card.shape[1]
    lines = [_row("th", ["", *map(task_name, tasks)])]
    shares = [f"{card.layer_share[task]:.1f} %" for task in tasks]
    lines.append(_row("td", ["of its layer, ranked lower by HONES", *shares]))
    means = [f"{card.contribution[task]:.4g}" for task in tasks]
    lines.append(_row("td", ["mean contribution E[c], logit", *means]))
    for ranker in dict.fromkeys(card.ranks["ranker"]):
        own = card.ranks[card.ranks["ranker"] == ranker]
        cells = [_rank(own[own["task"] == task], total, card.top_ratio) for task in tasks]
        name = escape(RANKER_NAMES.get(ranker, ranker))
        lines.append(f"<tr><td>{name}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    note = (
        f"Rank of {total:,}, from 1, and score; bold: within the top {100 * card.top_ratio:g} %. "
        "Of a ranker with several seeds, the rank with each."
    )
    return f'<p class="note">{escape(note)}</p><table>{"".join(lines)}</table>'


def _rank(rows: pd.DataFrame, total: int, top_ratio: float) -> str:
    if rows.empty:
        return "\u2013"
    rows = rows.sort_values("seed")
    ranks = []
    for rank in rows["rank"]:
        kind = ' class="in"' if rank < budget(total, top_ratio) else ""
        ranks.append(f"<span{kind}>{rank + 1:,}</span>")
    score = "" if len(rows) > 1 else f' <span class="score">{rows["score"].iloc[0]:.3g}</span>'
    return ", ".join(ranks) + score


def _row(cell: str, texts: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{cell}>{escape(text)}</{cell}>' for text in texts)}</tr>"


def _tokens(title: str, tokens: list[tuple[str, float]]) -> str:
    lines = "".join(
        f'<tr><td class="token">{escape(visible(text))}</td><td>{value:+.3f}</td></tr>'
        for text, value in tokens
    )
    return f"<div><h3>{escape(title)}</h3><table>{lines}</table></div>"


def _samples(task: str, card: Card) -> str:
    figures = "".join(map(_figure, card.samples[task]))
    title = f"{task_name(task)}, of {card.n_samples[task]:,} samples"
    return f'<h3>{escape(title)}</h3><div class="samples">{figures}</div>'


def _figure(sample: Sample) -> str:
    source, kind = _data_uri(sample.image)
    caption = f"<b>z = {sample.activation:+.3f}</b><br>{escape(sample.prompt)}"
    caption += f"<br><i>{escape(sample.target)}</i><br>{escape(sample.instance_id)}"
    picture = f'<img class="{kind}" alt="{escape(sample.instance_id)}" src="{source}">'
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _data_uri(image: Image.Image) -> tuple[str, str]:
    """The image as a small data URI: a drawing without loss, a photograph shrunk, as JPEG."""
    small = image.copy()
    is_photo = max(image.size) > SMALL
    small.thumbnail((SMALL, SMALL))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG" if is_photo else "PNG")
    code = base64.b64encode(buffer.getvalue()).decode("ascii")
    kind = ("photo", "jpeg") if is_photo else ("drawing", "png")
    return f"data:image/{kind[1]};base64,{code}", kind[0]

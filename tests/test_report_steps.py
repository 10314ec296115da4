"""The drawing of the steps: each once, lines only downwards and all that are needed, no overlap."""

from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hones_core.job_records import JobRecord
from hones_core.report.steps import GAP, HEIGHT, ROW, drawing, layers, without_detours

READS = {
    "draw": [],
    "split": ["draw"],
    "predict": ["draw", "split"],
    "mask": ["draw", "predict", "split"],
    "tabulate": ["mask", "predict"],
    "plot": ["tabulate", "draw"],
    "alone": [],
}


@st.composite
def any_reads(draw):
    """Steps of any names' lengths, each of which reads any of those before it."""
    lengths = draw(st.lists(st.integers(1, 30), min_size=1, max_size=12))
    steps = [f"{number:02}" + "x" * length for number, length in enumerate(lengths)]
    return {
        step: draw(st.lists(st.sampled_from(steps[:number]), unique=True)) if number else []
        for number, step in enumerate(steps)
    }


def parts(svg):
    """{step: (left, top, right)} of the boxes, and [(x, y), (x, y)] where each line ends."""
    root = ElementTree.fromstring(svg)
    boxes, lines = {}, []
    for group in root.iter("g"):
        box = group.find("rect").attrib
        left, top, width = (float(box[name]) for name in ("x", "y", "width"))
        name = group.find("text").text
        assert name not in boxes
        boxes[name] = (left, top, left + width)
    for path in root.iter("path"):
        x, y = path.attrib["d"].split("C")[0].removeprefix("M").split()
        end = path.attrib["d"].split("C")[-1].split()[-2:]
        lines.append([(float(x), float(y)), (float(end[0]), float(end[1]))])
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    assert all(left >= 0 and right <= width for left, _, right in boxes.values())
    assert max(top for _, top, _ in boxes.values()) + HEIGHT <= height
    return boxes, lines


def step_at(boxes, point, below):
    """The step in the middle of whose lower or upper edge the point lies."""
    (found,) = [
        step
        for step, (left, top, right) in boxes.items()
        if abs((left + right) / 2 - point[0]) < 0.2 and top + (HEIGHT if below else 0) == point[1]
    ]
    return found


@given(any_reads())
def test_every_step_is_there_once_and_every_line_leads_down_to_one_that_reads(reads):
    boxes, lines = parts(drawing(reads, (), {}))
    assert set(boxes) == set(reads)
    assert {step: top / ROW for step, (_, top, _) in boxes.items()} == layers(reads)
    drawn = {(step_at(boxes, end, False), step_at(boxes, start, True)) for start, end in lines}
    needed = without_detours(reads)
    assert drawn == {(later, earlier) for later in needed for earlier in needed[later]}
    assert len(lines) == len(drawn)
    assert all(start[1] < end[1] for start, end in lines)


@given(any_reads())
def test_boxes_of_a_layer_keep_their_distance(reads):
    boxes, _ = parts(drawing(reads, (), {}))
    for row in {top for _, top, _ in boxes.values()}:
        edges = sorted((left, right) for left, top, right in boxes.values() if top == row)
        assert all(left[1] + GAP <= right[0] + 0.2 for left, right in pairwise(edges))


@given(any_reads())
def test_what_is_left_out_is_implied_by_a_longer_way(reads):
    def behind(step, given):
        return set(given[step]).union(*(behind(read, given) for read in given[step]))

    lines = without_detours(reads)
    for step in reads:
        assert behind(step, lines) == behind(step, reads)
        for read in lines[step]:
            others = [one for one in reads[step] if one != read]
            assert all(read not in behind(one, reads) for one in others)


def test_a_known_drawing():
    assert without_detours(READS)["mask"] == ["predict"]
    assert without_detours(READS)["plot"] == ["tabulate"]
    assert layers(READS)["plot"] == 5 and layers(READS)["alone"] == 0
    assert drawing(READS, (), {}) == drawing(dict(READS), (), {})


def test_a_step_says_what_it_reads_and_what_it_took():
    records = {"mask": [JobRecord(2.0, 100.0), JobRecord(3.4, None)], "split": [JobRecord(1, None)]}
    root = ElementTree.fromstring(drawing(READS, ["mask"], records))
    groups = {group.find("text").text: group for group in root.iter("g")}
    said = {step: group.find("title").text for step, group in groups.items()}
    assert said["mask"] == "mask; 2 jobs, 5 seconds; at most 100 MiB; reads draw, predict, split"
    assert said["split"] == "split; 1 job, 1 seconds; reads draw"
    assert said["alone"] == "alone; reads no other step"
    assert [step for step, group in groups.items() if "shown" in group.get("class")] == ["mask"]


def test_names_are_escaped():
    svg = drawing({"<script>&": [], '"b"': ["<script>&"]}, (), {})
    assert "<script" not in svg
    assert set(parts(svg)[0]) == {"<script>&", '"b"'}


def test_a_step_that_is_not_there_is_an_error():
    with pytest.raises(KeyError):
        layers({"a": ["b"]})

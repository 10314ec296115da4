"""The progress line: what it says, and how rarely."""

import pytest

from hones_core import progress as module
from hones_core.progress import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""

    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def lines(capsys) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_samples_rate_and_time_left(clock, capsys):
    chunks = ["abcd", "efgh", "ij"]
    for _ in progress(chunks, "vqa, 8 heads", size=len, unit="samples"):
        clock.now += 10
    assert lines(capsys) == [
        "vqa, 8 heads: 4/10 samples, 0.40 samples/s, 15 s left",
        "vqa, 8 heads: 8/10 samples, 0.40 samples/s, 5 s left",
        "vqa, 8 heads: 10/10 samples, 0.33 samples/s, 0 s left",
    ]


def test_at_most_one_line_in_ten_seconds_and_the_last(clock, capsys):
    for _ in progress(range(25), "steps"):
        clock.now += 1
    assert [line.split(",")[0] for line in lines(capsys)] == [
        "steps: 10/25",
        "steps: 20/25",
        "steps: 25/25",
    ]


def test_what_was_kept_says_nothing_about_the_rate(clock, capsys):
    kept = []
    for index in progress(range(100), "steps", kept=lambda: len(kept)):
        if index < 50:
            kept.append(index)
        else:
            clock.now += 2
    said = lines(capsys)
    assert said[0] == "steps: 55/100, 0.50/s, 90 s left"
    assert said[-1] == "steps: 100/100, 0.50/s, 0 s left"


def test_nothing_worked_on_yet_gives_no_time(clock, capsys):
    kept = []
    for index in progress(range(3), "steps", kept=lambda: len(kept)):
        kept.append(index)
        clock.now += 10
    assert lines(capsys)[0] == "steps: 1/3, 0.00/s, time left not known yet"


def test_a_label_may_change_on_the_way(clock, capsys):
    heads = [1, 2, 3]
    for _ in progress(range(2), lambda: f"{len(heads)} heads left"):
        clock.now += 10
        heads.pop()
    assert [line.split(":")[0] for line in lines(capsys)] == ["2 heads left", "1 heads left"]

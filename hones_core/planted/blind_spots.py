"""Circuits that really answer, and that head-conditioned write-in contributions cannot see.

late       ocr and caption: the planted neurons write the first word only, *late* ones all others.
           Contributions are taken at the last prompt token, where the late ones have not fired.
negative   retrieval: no neuron says Yes to what was found; *negative* ones say No where nothing was
           found, which ranks the candidates just as well. Contributions are taken on positives and
           towards Yes.
backup     vqa: each routing head has a double, either of which is enough. Disrupting one head at a
           time, none has an effect.
"""

from collections.abc import Callable
from dataclasses import replace

from hones_core.planted.circuit import OPEN, WRITE, Head, Neuron
from hones_core.planted.layout import vector
from hones_core.planted.world import ANSWERS, CONTENTS, NO, TASKS

Circuit = tuple[list[Head], list[Neuron]]


def late_writers(heads: list[Head], neurons: list[Neuron]) -> Circuit:
    """Planted neurons only at the last prompt token, late ones after a word of the answer."""
    changed = []
    for neuron in neurons:
        if neuron.label == "planted" and neuron.task in ("ocr", "caption"):
            task = TASKS.index(neuron.task)
            also_asked = vector({("task", task): 2 * OPEN, ("constant", 0): -2 * OPEN})
            said = {(f"said_{neuron.task}", k): 2 * OPEN for k in range(CONTENTS)}
            also_said = vector({**said, ("constant", 0): -2 * OPEN})
            changed.append(replace(neuron, gate=neuron.gate + also_asked))
            changed.append(replace(neuron, label="late", gate=neuron.gate + also_said))
        else:
            changed.append(neuron)
    return heads, changed


def negative_writers(heads: list[Head], neurons: list[Neuron]) -> Circuit:
    """Retrieval by saying No where nothing was found, with as many neurons as said Yes."""
    found = {("routed_retrieval", k): -2 * OPEN for k in range(CONTENTS)}
    asked = ("task", TASKS.index("retrieval"))
    gate = vector({**found, asked: 2 * OPEN, ("constant", 0): -OPEN})
    up = vector({("constant", 0): 1.0})
    down = vector({("answer", ANSWERS.index(NO)): WRITE})
    return heads, [
        replace(neuron, label="negative", gate=gate, up=up, down=down)
        if neuron.label == "planted" and neuron.task == "retrieval"
        else neuron
        for neuron in neurons
    ]


def backup_heads(heads: list[Head], neurons: list[Neuron]) -> Circuit:
    """A double of every head that routes for vqa."""
    return [*heads, *(head for head in heads if head.tasks == ("vqa",))], neurons


BLIND_SPOTS: dict[str, Callable[[list[Head], list[Neuron]], Circuit]] = {
    "late": late_writers,
    "negative": negative_writers,
    "backup": backup_heads,
}

"""The shipped toy models and scenes of their kind for `benchmarks/engine.py`."""

from pathlib import Path

import numpy as np

from hones_core.models import Adapter, load_model
from hones_core.tasks.instances import Instance
from hones_core.toy.language import ask_question, facts_of, write_caption
from hones_core.toy.official import unique_scenes
from hones_core.toy.scenes import draw_scene, scene_rng

TOYS = Path(__file__).parents[1] / "resources" / "toy"


def load_toy(family: str, device: str) -> Adapter:
    """A family's toy in float32."""
    return load_model(str(TOYS / family), family, device=device)


class ToySamples:
    """Scenes with what is asked and said about them; a query's negatives tell of other scenes."""

    def __init__(self, folder: Path, candidates: int):
        self.folder = folder
        self.candidates = candidates
        self.scenes = unique_scenes(max(64, candidates), scene_rng("evaluation", 1, 0))

    def of(self, task: str, number: int) -> Instance:
        """Sample `number` of a task."""
        number %= len(self.scenes)
        rng, scene = np.random.default_rng(number), self.scenes[number]
        fields = {"question": "", "references": (), "candidates": (), "positive_index": -1}
        if task == "vqa":
            question = ask_question(rng, scene)
            fields |= {"question": question.text, "references": (question.answer,) * 10}
        elif task == "caption":
            fields["references"] = tuple(self._caption(number, k) for k in range(5))
        else:
            others = [(number + k) % len(self.scenes) for k in range(self.candidates)]
            fields |= {
                "candidates": tuple(self._caption(other, 0) for other in others),
                "positive_index": 0,
            }
        path = self.folder / f"{number}.png"
        if not path.exists():
            draw_scene(scene).save(path)
        return Instance(f"{task}/{number}", task, "discovery", number, path.name, **fields)

    def _caption(self, number: int, which: int) -> str:
        rng = np.random.default_rng([number, which])
        return write_caption(rng, facts_of(self.scenes[number])).text

"""Toy scenes of another kind, as GQA, TextVQA and Flickr30k files: what the model did not train on.

The things of a scene are those of `scenes`, so that the same questions can be asked. Everything
around them is shifted: striped dark grounds for light plain ones, other and proportional fonts on
plates of other colours, other image sizes, JPEG for PNG, and other caption templates and questions
about the text. All three data sets have scenes of their own.
"""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hones_core.atomic import write_text
from hones_core.toy.language import ask_question, facts_of
from hones_core.toy.official import unique_scenes
from hones_core.toy.scenes import Scene, draw_scene, matplotlib_fonts, scene_rng
from hones_core.toy.vocabulary import COLOURS, NUMBERS, SHAPES

SEED_WORD = 7  # keeps these scenes apart from those of `official`
SIDES = (80, 96, 128)  # pixels
FONTS = ("DejaVuSerif-Bold.ttf", "DejaVuSans-BoldOblique.ttf", "STIXGeneralBol.ttf")
JPEG = {"quality": 95, "subsampling": 0}
CAPTIONS_PER_IMAGE = 5
ANNOTATORS = 10

# (one stripe, the other)
_GROUNDS = (
    ((70, 82, 104), (52, 62, 84)),
    ((94, 78, 66), (74, 60, 50)),
    ((60, 92, 78), (46, 74, 62)),
)
_PLATES = (((250, 226, 60), (20, 20, 20)), ((190, 30, 40), (255, 255, 255)))
# {things}: all of them; {plates}: "one sign", "two plates"
_TEMPLATES = (
    "A photo of {things}; {plates} can be read.",
    "In this picture we see {things}, and {plates} as well.",
    "{plates} beside {things}.",
    "Here are {things}, seen together with {plates}.",
    "Someone has painted {things} and put up {plates}.",
)


def draw_shifted(scene: Scene, rng: np.random.Generator) -> Image.Image:
    """Draw a scene's things on a striped ground, with its plates in another font and size."""
    side = int(rng.choice(SIDES))
    plain = draw_scene(replace(scene, noise=0.0))
    pixels = np.asarray(plain)
    colours, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    is_ground = (pixels == colours[counts.argmax()]).all(axis=2)
    image = np.array(plain.resize((side, side), Image.Resampling.BICUBIC))
    ground = np.array(Image.fromarray(is_ground).resize((side, side), Image.Resampling.NEAREST))
    image[ground] = _stripes(side, rng)[ground]
    shifted = Image.fromarray(image)
    for plate in scene.plates:
        box = [round(value * side / plain.width) for value in plate.box]
        _draw_plate(shifted, box, plate.text, rng)
    return shifted


def _stripes(side: int, rng: np.random.Generator) -> np.ndarray:
    one, other = _GROUNDS[int(rng.integers(len(_GROUNDS)))]
    width = int(rng.integers(4, 9))
    diagonal = np.add.outer(np.arange(side), np.arange(side)) // width % 2
    grain = rng.normal(0, 4, (side, side, 1))
    return np.clip(np.where(diagonal[..., None], one, other) + grain, 0, 255).astype(np.uint8)


def _draw_plate(image: Image.Image, box: list[int], text: str, rng: np.random.Generator) -> None:
    x, y, w, h = box
    paper, ink = _PLATES[int(rng.integers(len(_PLATES)))]
    name = FONTS[int(rng.integers(len(FONTS)))]
    draw = ImageDraw.Draw(image)
    draw.rectangle((x, y, x + w - 1, y + h - 1), fill=paper)
    size = next(size for size in range(h, 0, -1) if draw.textlength(text, _font(name, size)) < w)
    draw.text((x + w / 2, y + h / 2), text, fill=ink, font=_font(name, size), anchor="mm")


@cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """A font that travels with matplotlib, found without importing matplotlib."""
    path = matplotlib_fonts() / name
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def write_shifted_captions(rng: np.random.Generator, scene: Scene) -> list[str]:
    """Five captions of one scene; each tells every thing and the number of plates."""
    facts = facts_of(scene)
    captions = []
    for place in rng.permutation(len(_TEMPLATES)):
        phrases = [_phrase(rng, colour, shape) for colour, shape in facts.kinds]
        things = ", ".join(phrases[:-1]) + " and " + phrases[-1]
        noun = str(rng.choice(["sign", "plate"])) + ("" if facts.n_plates == 1 else "s")
        caption = _TEMPLATES[place].format(
            things=things, plates=f"{NUMBERS[facts.n_plates]} {noun}"
        )
        captions.append(caption[0].upper() + caption[1:])
    return captions


def _phrase(rng: np.random.Generator, colour: str, shape: str) -> str:
    words = [
        str(rng.choice([colour, COLOURS[colour].synonym])),
        str(rng.choice([shape, SHAPES[shape].synonym])),
    ]
    return f"{'an' if words[0][0] in 'aeiou' else 'a'} {' '.join(words)}"


def write_shifted(folder: str | Path, n_images: int, seed: int) -> None:
    """Write the three data sets of `n_images` scenes each under `folder`; same seed, same bytes.

    `gqa/val_balanced_questions.json`, `textvqa/TextVQA_0.5.1_val.json`, and of Flickr30k all three
    forms: `flickr30k/dataset_flickr30k.json`, `results.csv`, `flickr_annotations_30k.csv`; images
    in `gqa/images`, `textvqa/train_images`, `flickr30k/flickr30k-images`.
    """
    scenes = unique_scenes(3 * n_images, scene_rng("evaluation", seed, SEED_WORD, 0))
    writers: tuple[Callable, ...] = (_write_gqa, _write_textvqa, _write_flickr30k)
    for number, write in enumerate(writers):
        rng = scene_rng("evaluation", seed, SEED_WORD, 1 + number)
        write(Path(folder), scenes[number * n_images : (number + 1) * n_images], rng)


def _save(scene: Scene, path: Path, rng: np.random.Generator) -> tuple[int, int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = draw_shifted(scene, rng)
    image.save(path, format="JPEG", **JPEG)
    return image.size


def _write_gqa(folder: Path, scenes: list[Scene], rng: np.random.Generator) -> None:
    questions = {}
    for number, scene in enumerate(scenes):
        image_id = str(2_300_000 + number)
        _save(scene, folder / "gqa" / "images" / f"{image_id}.jpg", rng)
        for place in range(2):
            question_id, asked = f"{2 * number + place:08d}", ask_question(rng, scene)
            questions[question_id] = {
                "semantic": [],
                "entailed": [],
                "equivalent": [question_id],
                "question": asked.text,
                "imageId": image_id,
                "isBalanced": True,
                "groups": {"global": None, "local": ""},
                "answer": asked.answer,
                "semanticStr": "",
                "annotations": {"answer": {}, "question": {}, "fullAnswer": {}},
                "types": {"detailed": "", "semantic": "attr", "structural": "query"},
                "fullAnswer": asked.answer.capitalize() + ".",
            }
    _write_json(folder / "gqa" / "val_balanced_questions.json", questions)


def _write_textvqa(folder: Path, scenes: list[Scene], rng: np.random.Generator) -> None:
    data = []
    for number, scene in enumerate(scenes):
        image_id = f"{0xF00D0000 + number:016x}"
        path = folder / "textvqa" / "train_images" / f"{image_id}.jpg"
        width, height = _save(scene, path, rng)
        plates = sorted(scene.plates, key=lambda plate: plate.x)
        place = int(rng.integers(len(plates)))
        which = "" if len(plates) == 1 else ("left ", "right ")[place]
        question = f"what does the {which}sign say?"
        data.append(
            {
                "question": question,
                "image_id": image_id,
                "image_classes": ["Sign"],
                "flickr_original_url": "",
                "flickr_300k_url": "",
                "image_width": width,
                "image_height": height,
                "answers": _readings(rng, plates[place].text),
                "question_tokens": question.rstrip("?").split(),
                "question_id": 34_602 + number,
                "set_name": "val",
            }
        )
    head = {"dataset_type": "val", "dataset_name": "textvqa", "dataset_version": "0.5.1"}
    _write_json(folder / "textvqa" / "TextVQA_0.5.1_val.json", {**head, "data": data})


def _readings(rng: np.random.Generator, text: str) -> list[str]:
    """What ten people read: mostly the text in lower case, as the data set has it."""
    wrong = [text[:-1].lower(), f"{text.lower()} sign", "unanswerable"]
    n_wrong = int(rng.integers(0, 4))
    answers = [text.lower()] * (ANNOTATORS - n_wrong)
    answers += [str(rng.choice(wrong)) for _ in range(n_wrong)]
    return [answers[i] for i in rng.permutation(ANNOTATORS)]


def _write_flickr30k(folder: Path, scenes: list[Scene], rng: np.random.Generator) -> None:
    folder = folder / "flickr30k"
    images = []
    for number, scene in enumerate(scenes):
        name = f"{1_000_092_795 + 17 * number}.jpg"
        _save(scene, folder / "flickr30k-images" / name, rng)
        captions = write_shifted_captions(rng, scene)
        ids = list(range(CAPTIONS_PER_IMAGE * number, CAPTIONS_PER_IMAGE * (number + 1)))
        sentences = [
            {"tokens": raw.lower().split(), "raw": raw, "imgid": number, "sentid": i}
            for i, raw in zip(ids, captions, strict=True)
        ]
        images.append(
            {
                "sentids": ids,
                "imgid": number,
                "sentences": sentences,
                "split": "test",
                "filename": name,
            }
        )
    _write_json(folder / "dataset_flickr30k.json", {"images": images, "dataset": "flickr30k"})
    write_text(folder / "results.csv", _results_csv(images))
    write_text(folder / "flickr_annotations_30k.csv", _sentids_csv(images))


def _results_csv(images: list[dict]) -> str:
    lines = ["image_name| comment_number| comment"]
    for image in images:
        for number, sentence in enumerate(image["sentences"]):
            lines.append(f"{image['filename']}| {number}| {sentence['raw']}")
    # As in the file that circulates, one line lacks a separator.
    lines[-1] = "   ".join(lines[-1].rsplit("| ", 1))
    return "\n".join(lines) + "\n"


def _sentids_csv(images: list[dict]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["raw", "sentids", "split", "filename", "img_id"])
    for image in images:
        raw = json.dumps([sentence["raw"] for sentence in image["sentences"]])
        row = [raw, json.dumps(image["sentids"]), image["split"], image["filename"], image["imgid"]]
        writer.writerow(row)
    return text.getvalue()


def _write_json(path: Path, content: dict) -> None:
    write_text(path, json.dumps(content, ensure_ascii=False) + "\n")

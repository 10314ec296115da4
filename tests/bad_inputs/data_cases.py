"""Annotations: each is refused by the step that reads it, and by `check_data`."""

import gzip
import json

from case import Catalogue
from commands import script, workflow
from study import RUN, Study

DATA = Catalogue("data")
RECORDS = script("build_records")
DOWNLOAD = "download the official file again"
CORRECT = "correct the record or take the official file"
CAPTIONS, BOXES = "captions_train2014.json", "cocotext.v2.json"
QUESTIONS, ANSWERS = (
    "v2_OpenEnded_mscoco_train2014_questions.json",
    "v2_mscoco_train2014_annotations.json",
)


def changed(name: str, kind: str, change, *says: str) -> None:
    """A case of one of the official files whose content is changed."""
    DATA.add(name, RECORDS, lambda study: study.change(kind, change), *says)


def replaced(name: str, kind: str, make, *says: str) -> None:
    """A case of one of the official files whose bytes are replaced by what `make` gives of them."""

    def broken(study: Study) -> None:
        path = study.annotations(kind)
        path.write_bytes(make(path.read_bytes()))

    DATA.add(name, RECORDS, broken, *says)


replaced("a file cut off", "captions", lambda b: b[: len(b) // 2], CAPTIONS, "not valid", DOWNLOAD)
replaced("an empty file", "vqa_questions", lambda b: b"", QUESTIONS, "not valid JSON", DOWNLOAD)
replaced("a file still compressed", "coco_text", gzip.compress, BOXES, "unpack it first")
replaced("not UTF-8", "captions", lambda b: b.replace(b"caption 0", b"\xff"), CAPTIONS, DOWNLOAD)
replaced(
    "a list in place of an object",
    "captions",
    lambda b: b"[1]",
    CAPTIONS,
    "holds a list where an object is expected",
    "give the official file of this kind",
)
replaced(
    "another file in its place",
    "captions",
    lambda b: b'{"questions": []}',
    CAPTIONS,
    "images: is missing",
    "['questions']",
    "give the official file of this kind",
)
replaced(
    "lists within lists without end",
    "captions",
    lambda b: b'{"info": ' + b"[" * 200_000,
    CAPTIONS,
    "not valid JSON",
    DOWNLOAD,
)
replaced(
    "a key twice",
    "coco_text",
    lambda b: b.replace(b'"14": {', b'"7": {'),
    BOXES,
    "key '7' occurs twice",
    CORRECT,
)
changed(
    "a record that is no object",
    "captions",
    lambda d: d["annotations"].insert(2, "a dog"),
    f"{CAPTIONS}: annotations[2]: is a str where an object is expected",
    CORRECT,
)
changed(
    "a record without its image",
    "captions",
    lambda d: d["annotations"][3].pop("image_id"),
    f"{CAPTIONS}: annotations[3]: image_id is missing",
    CORRECT,
)
changed(
    "an id that is a text",
    "vqa_questions",
    lambda d: d["questions"][1].update(question_id="2000"),
    f"{QUESTIONS}: questions[1]: question_id is '2000' where an integer",
    CORRECT,
)
changed(
    "an image id twice",
    "captions",
    lambda d: d["images"][1].update(id=1),
    f"{CAPTIONS}: images[1]: image id 1 occurs twice",
)
changed(
    "a file name twice",
    "captions",
    lambda d: d["images"][1].update(file_name=d["images"][0]["file_name"]),
    f"{CAPTIONS}: images[1]: file name",
    "occurs twice",
)
changed(
    "a file name that leaves the folder",
    "captions",
    lambda d: d["images"][0].update(file_name="../../secret.jpg"),
    f"{CAPTIONS}: images[0]: file_name '../../secret.jpg' leaves the image folder",
    "give a name relative to the image folder",
)
changed(
    "a file name that is absolute",
    "coco_text",
    lambda d: d["imgs"]["1"].update(file_name="/etc/passwd"),
    f"{BOXES}: imgs['1']: file_name '/etc/passwd' is absolute",
    "give a name relative to the image folder",
)
changed(
    "a size that is no size",
    "captions",
    lambda d: d["images"][0].update(width=0),
    f"{CAPTIONS}: images[0]: width is 0 where an integer from 1 is expected",
)
changed(
    "half a character",
    "captions",
    lambda d: d["annotations"][0].update(caption="a \ud83d"),
    f"{CAPTIONS}: annotations[0]: caption holds half of a surrogate pair",
)
changed(
    "a caption of an unknown image",
    "captions",
    lambda d: d["annotations"][4].update(image_id=99),
    f"{CAPTIONS}: annotations[4]: image 99 is not declared",
)
changed(
    "a box of three numbers",
    "coco_text",
    lambda d: d["anns"]["7"].update(bbox=[1, 2, 3]),
    f"{BOXES}: anns['7']: bbox is [1, 2, 3] where 4 finite numbers are expected",
    CORRECT,
)
changed(
    "a box of no numbers",
    "coco_text",
    lambda d: d["anns"]["7"].update(bbox=[1, 2, float("nan"), 3]),
    f"{BOXES}: anns['7']: bbox is [1, 2, nan, 3]",
)
changed(
    "a box beyond every number",
    "coco_text",
    lambda d: d["anns"]["7"].update(bbox=[1, 2, 10**400, 3]),
    f"{BOXES}: anns['7']: bbox is [1, 2, 1000",
    CORRECT,
)
changed(
    "a box under another's id",
    "coco_text",
    lambda d: d["anns"]["7"].update(id=8),
    f"{BOXES}: anns['7']: its id is 8, not its key",
)
changed(
    "a transcription that is a number",
    "coco_text",
    lambda d: d["anns"]["7"].update(utf8_string=7),
    f"{BOXES}: anns['7']: utf8_string is 7 where a text is expected",
)
changed(
    "answers that are no list",
    "vqa_annotations",
    lambda d: d["annotations"][0].update(answers="yes"),
    f"{ANSWERS}: annotations[0]: answers of question 1000 are missing or no list",
)
changed(
    "an answer without text",
    "vqa_annotations",
    lambda d: d["annotations"][0]["answers"][3].pop("answer"),
    f"{ANSWERS}: annotations[0]['answers'][3]: answer is missing",
)
changed(
    "questions of another release",
    "vqa_questions",
    lambda d: d["questions"].pop(0),
    f"{ANSWERS}: annotations[0]: question 1000 is not in",
    QUESTIONS,
    "take both files from the same release",
)


@DATA.case("a missing file", RECORDS, f"{CAPTIONS}: file: can't be read", "check the path in the")
def _missing(study):
    study.annotations("captions").unlink()


@DATA.case("a folder in place of a file", RECORDS, f"{BOXES}: file: can't be read", "directory")
def _folder(study):
    study.annotations("coco_text").unlink()
    study.annotations("coco_text").mkdir()


# --- well-formed, but too little of it is left ----------------------------------------------------

TOO_FEW = ("the splits ask for 8 images (4 + 2 + 2), but only 0 are usable", "excluded images")
REMADE = ("records.parquet", "excluded.parquet")


def unusable(name: str, kind: str, change) -> None:
    """A case of records that are left out, each with its reason, until none is left."""
    DATA.add(
        name,
        script("build_records", "build_splits"),
        lambda study: study.change(kind, change),
        *TOO_FEW,
        not_kept=REMADE,
    )


def _each_box(**values):
    return lambda d: [box.update(values) for box in d["anns"].values()]


unusable("boxes of negative size", "coco_text", _each_box(bbox=[8, 6, -20, 10]))
unusable("boxes outside their images", "coco_text", _each_box(bbox=[900, 900, 20, 10]))
unusable("no text that can be read", "coco_text", _each_box(legibility="illegible"))
unusable(
    "no questions' texts",
    "vqa_questions",
    lambda d: [q.update(question=" ") for q in d["questions"]],
)


@DATA.case(
    "too few images",
    script("build_splits"),
    "the splits ask for 104 images (100 + 2 + 2), but only 8 are usable",
    "lower the sizes or see the excluded images for reasons",
)
def _too_few(study):
    study.overlay({"benchmark": {"splits": {"discovery": 100}}})


@DATA.case(
    "too few captions for hard negatives",
    script("mine_retrieval_pools"),
    "image 2: the pool has 10 captions that are not its own, fewer than the 400 negatives",
    "lower the number of negatives or use more images",
)
def _too_few_negatives(study):
    study.overlay({"benchmark": {"retrieval": {"n_negatives": 400}}})


@DATA.case(
    "captions that are all empty",
    workflow(f"{RUN}/benchmark/splits.parquet"),
    "build_splits stopped: the splits ask for 8 images",
    "lower the sizes or see the excluded images for reasons",
    not_kept=REMADE,
    gone=("splits.parquet",),
)
def _empty_captions(study):
    study.change("captions", lambda d: [entry.update(caption=" ") for entry in d["annotations"]])
    study.path(f"{RUN}/benchmark/records.parquet").unlink()


@DATA.case(
    "a file cut off, in a whole run",
    workflow(f"{RUN}/benchmark/records.parquet"),
    f"build_records stopped: data/annotations/{CAPTIONS}: file: is not valid JSON",
    DOWNLOAD,
    gone=REMADE,
)
def _cut_off(study):
    path = study.annotations("captions")
    path.write_bytes(path.read_bytes()[:-100])


# --- other data sets ------------------------------------------------------------------------------


def other(name: str, dataset: str, content: str | bytes, *says: str) -> None:
    """A case of another data set's file."""
    suffix = "csv" if dataset == "flickr30k" else "json"
    file = f"data/{dataset}.{suffix}"

    def broken(study: Study) -> None:
        study.path(file).write_bytes(content.encode() if isinstance(content, str) else content)

    DATA.add(name, script("build_ood_items", dataset=dataset), broken, file, *says)


SENTIDS = "raw,sentids,split,filename,img_id\n"
other("GQA cut off", "gqa", '{"7": {"question": "Is it?"', "not valid JSON", DOWNLOAD)
other(
    "a GQA image that leaves the folder",
    "gqa",
    json.dumps({"7": {"question": "Is it?", "imageId": "../5", "answer": "yes"}}),
    "file['7']: imageId '../5' leaves the image folder",
    "take the official file",
)
other("TextVQA without its list", "textvqa", "{}", "data: is missing", "give the official file of")
other("captions of no known form", "flickr30k", "a,b\n1,2\n", "no known form", "give one of these")
other(
    "a caption's number beyond every number",
    "flickr30k",
    f"image_name| comment_number| comment\n5.jpg| {'9' * 5000}| a dog\n",
    "line[2]:",
    "'image| number| caption' is expected",
)
other(
    "captions within lists without end",
    "flickr30k",
    f'{SENTIDS}"{"[" * 100_000}",[0],train,5.jpg,0\n',
    "row[0]: raw is no JSON list",
)


@DATA.case(
    "a split of captions that have none",
    script("build_ood_items", dataset="flickr30k"),
    "data/flickr30k.csv: file: has no splits, but the images of split 'test' are asked for",
    "set the split to null",
)
def _no_splits(study):
    study.overlay({"ood": {"flickr30k": {"split": "test"}}})


@DATA.case(
    "more images than there are",
    script("build_ood_items", dataset="gqa"),
    "gqa: 30 images are asked for, but only 1",
)
def _more_images(study):
    study.overlay({"ood": {"gqa": {"n_images": 30}}})

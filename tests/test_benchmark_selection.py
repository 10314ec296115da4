"""Which images are usable, which annotation is chosen, and how the images are split."""

import json
import random

import pandas as pd
import pytest
from benchmark_support import answers, official, question, records_of, sample_paths, text_box
from hypothesis import given
from hypothesis import strategies as st

from hones_core import artifacts
from hones_core.benchmark import selection
from hones_core.benchmark.errors import BenchmarkError
from hones_core.benchmark.selection import build_records
from hones_core.benchmark.splits import SPLIT_NAMES, UNUSED, build_splits, used_records
from hones_core.schemas.benchmark import EXCLUDED, RECORDS, SPLITS


@pytest.fixture(scope="module")
def sample():
    return build_records(**sample_paths())


def test_sample_has_1332_usable_images(sample):
    records, excluded = sample
    assert len(records) == 1332
    assert excluded["image_id"].to_list() == [491229]
    assert excluded["reason"].to_list() == [selection.BLANK_TRANSCRIPTION]
    assert "box 156292" in excluded["detail"][0]


def test_sample_boxes(sample):
    records, _ = sample
    assert records["box_clamped"].sum() == 40
    assert (records[["box_x", "box_y"]] >= 0).all(axis=None)
    assert (records["box_x"] + records["box_w"] <= records["width"]).all()
    assert (records["box_y"] + records["box_h"] <= records["height"]).all()
    assert (records["transcription"].str.strip() == records["transcription"]).all()
    assert (records["transcription"] != "").all()


def test_sample_texts(sample):
    records, _ = sample
    assert {len(captions) for captions in records["captions"]} == {5}
    assert {len(found) for found in records["answers"]} == {10}
    captions = records["captions"].explode()
    assert not captions.str.contains(r"[\n\r\u2028]").any()
    assert (captions.str.strip() == captions).all()
    assert (records["question_id"] == records["image_id"] * 1000).all()


def test_sample_files_hold_what_is_said_of_them():
    captions, answers = (
        json.loads(sample_paths()[kind].read_text())["annotations"]
        for kind in ("captions", "vqa_annotations")
    )
    assert sum("\n" in entry["caption"] for entry in captions) == 22
    assert sum(entry["caption"] != entry["caption"].strip() for entry in captions) == 922
    assert {len(entry["answers"]) for entry in answers} == {10}


def test_sample_six_captions_keep_the_lowest_ids(sample):
    entries = json.loads(sample_paths()["captions"].read_text())["annotations"]
    table = pd.DataFrame(entries).sort_values("id")
    counts = table["image_id"].value_counts()
    six = counts[counts == 6].index
    assert len(six) == 4
    for image_id in six:
        expected = table[table["image_id"] == image_id]["caption"].str.split().str.join(" ")[:5]
        record = sample[0][sample[0]["image_id"] == image_id].iloc[0]
        assert list(record["captions"]) == expected.to_list()


def test_sample_does_not_depend_on_record_order(sample, tmp_path):
    data = {kind: json.loads(path.read_text()) for kind, path in sample_paths().items()}
    reordered, excluded = records_of(tmp_path, shuffled(data, 3))
    pd.testing.assert_frame_equal(reordered, sample[0])
    pd.testing.assert_frame_equal(excluded, sample[1])
    splits = [build_splits(frame["image_id"], 700, 200, 300) for frame in (reordered, sample[0])]
    pd.testing.assert_frame_equal(*splits)
    assert splits[0]["image_id"].is_unique


def test_frames_fit_their_schemas(sample, tmp_path):
    for frame, schema in zip(sample, (RECORDS, EXCLUDED), strict=True):
        artifacts.write(tmp_path / "a.parquet", frame, schema)
        assert len(artifacts.read(tmp_path / "a.parquet", schema)) == len(frame)


def shuffled(data, seed):
    """The same files with the records in another order."""
    mix = random.Random(seed).shuffle
    for content in data.values():
        for section, entries in content.items():
            if isinstance(entries, list):
                mix(entries)
            elif section in ("imgs", "anns"):
                pairs = list(entries.items())
                mix(pairs)
                content[section] = dict(pairs)
    return data


def many_choices():
    """Two images with three questions and three boxes each."""
    data = official([1, 2])
    for i in (1, 2):
        for k in (1, 2):
            data["vqa_questions"]["questions"].append(question(1000 * i + k, i))
            data["vqa_annotations"]["annotations"].append(answers(1000 * i + k, i))
        boxes = {700 + i: [1.0, 20.0, 30.0, 20.0], 800 + i: [2.0, 1.0, 4.0, 5.0]}
        for box_id, bbox in boxes.items():
            data["coco_text"]["anns"][str(box_id)] = text_box(box_id, i, bbox=bbox)
    return data


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("box", selection.BOX_SELECTIONS)
def test_choices_do_not_depend_on_order_or_on_other_images(tmp_path, box, seed):
    options = {"question_selection": "seeded_random", "box_selection": box, "seed": seed}
    records, _ = records_of(tmp_path / "a", many_choices(), **options)
    reordered, _ = records_of(tmp_path / "b", shuffled(many_choices(), seed), **options)
    pd.testing.assert_frame_equal(records, reordered)
    alone = many_choices()
    alone["vqa_questions"]["questions"] = [
        entry for entry in alone["vqa_questions"]["questions"] if entry["image_id"] == 2
    ]
    alone["vqa_annotations"]["annotations"] = [
        entry for entry in alone["vqa_annotations"]["annotations"] if entry["image_id"] == 2
    ]
    record, excluded = records_of(tmp_path / "c", alone, **options)
    assert excluded["reason"].to_list() == [selection.NO_QUESTION]
    pd.testing.assert_frame_equal(record, records[1:].reset_index(drop=True))


def test_named_choices(tmp_path):
    largest, _ = records_of(tmp_path, many_choices(), box_selection="largest")
    assert largest["box_id"].to_list() == [701, 702]
    first, _ = records_of(tmp_path, many_choices(), box_selection="first")
    assert first["box_id"].to_list() == [801, 802]
    assert first["question_id"].to_list() == [1000, 2000]


def test_random_choices_use_the_seed(tmp_path):
    options = {"question_selection": "seeded_random", "box_selection": "seeded_random"}
    runs = [records_of(tmp_path, many_choices(), seed=seed, **options)[0] for seed in range(12)]
    assert len({tuple(run["box_id"]) for run in runs}) > 3
    assert len({tuple(run["question_id"]) for run in runs}) > 3


def test_unknown_choice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="box_selection is 'biggest', not one of largest"):
        records_of(tmp_path, official([1]), box_selection="biggest")


def test_only_usable_boxes_compete(tmp_path):
    data = official([1])
    unusable = {
        "100": {"legibility": "illegible"},
        "101": {"utf8_string": " \u2003"},
        "102": {"bbox": [200.0, 0.0, 900.0, 900.0]},
        "103": {"bbox": [0.0, 47.0, 64.0, 900.0]},  # one pixel is left after clamping
        "104": {"mask": [1.0, 2.0, 3.0]},
        "105": {"utf8_string": None},
    }
    for key, changes in unusable.items():
        changes = {"bbox": [0.0, 0.0, 60.0, 40.0], **changes}
        data["coco_text"]["anns"][key] = text_box(int(key), 1, **changes)
    for choice in selection.BOX_SELECTIONS:
        records, _ = records_of(tmp_path, data, box_selection=choice, min_height_px=5)
        assert records["box_id"].to_list() == [7]


def test_box_is_clamped(tmp_path):
    data = official([1])
    data["coco_text"]["anns"]["7"]["bbox"] = [-3.0, 40.0, 20.0, 30.0]
    record = records_of(tmp_path, data)[0].iloc[0]
    assert record["box_clamped"]
    assert record[["box_x", "box_y", "box_w", "box_h"]].to_list() == [0, 40, 17, 8]


def captions_of(data):
    return data["captions"]["annotations"]


def clear_question(data):
    data["vqa_questions"]["questions"].clear()
    data["vqa_annotations"]["annotations"].clear()


def clear_coco_text(data):
    data["coco_text"]["imgs"].clear()
    data["coco_text"]["anns"].clear()


def blank_answers(data):
    """Four blank answers, and six that differ."""
    answers = data["vqa_annotations"]["annotations"][0]["answers"]
    for number, answer in enumerate(answers):
        answer["answer"] = " " if number < 4 else f"answer {number}"


def box_change(**changes):
    return lambda data: data["coco_text"]["anns"]["7"].update(changes)


REASONS = {
    selection.NOT_IN_CAPTIONS: lambda d: (d["captions"]["images"].clear(), captions_of(d).clear()),
    selection.NOT_IN_COCO_TEXT: clear_coco_text,
    selection.NO_QUESTION: clear_question,
    selection.SOURCES_DISAGREE: lambda d: d["coco_text"]["imgs"]["1"].update(width=65),
    selection.NO_CAPTIONS: lambda d: captions_of(d).clear(),
    selection.FEWER_THAN_FIVE_CAPTIONS: lambda d: captions_of(d)[2].update(caption="\n\u2028"),
    selection.BLANK_QUESTION: lambda d: d["vqa_questions"]["questions"][0].update(question=" "),
    selection.NO_ANSWERS: lambda d: d["vqa_annotations"]["annotations"].clear(),
    selection.NOT_TEN_ANSWERS: lambda d: d["vqa_annotations"]["annotations"][0]["answers"].pop(),
    selection.BLANK_ANSWER: blank_answers,
    selection.NO_TEXT_BOX: lambda d: d["coco_text"]["anns"].clear(),
    selection.NO_LEGIBLE_TEXT: box_change(legibility="illegible"),
    selection.BLANK_TRANSCRIPTION: box_change(utf8_string=" \n"),
    selection.DAMAGED_OUTLINE: box_change(mask=[1.0, 2.0, 3.0]),
    selection.BOX_OUTSIDE_IMAGE: box_change(bbox=[64.0, 0.0, 5.0, 5.0]),
    selection.BOX_TOO_SMALL: box_change(bbox=[0.0, 0.0, 5.0, 4.9]),
}


def test_every_reason_has_a_case():
    assert set(REASONS) == set(selection.REASONS)


@pytest.mark.parametrize("reason", REASONS)
def test_exclusion_has_one_reason(tmp_path, reason):
    data = official([1])
    REASONS[reason](data)
    records, excluded = records_of(tmp_path, data, min_height_px=5)
    assert records.empty
    assert excluded["reason"].to_list() == [reason]
    assert excluded["detail"][0]
    assert excluded["file_name"][0].endswith("1.jpg")
    artifacts.write(tmp_path / "records.parquet", records, RECORDS)
    artifacts.write(tmp_path / "excluded.parquet", excluded, EXCLUDED)


@pytest.mark.parametrize("bbox", [[0.0, 0.0, -5.0, 5.0], [3.0, 3.0, 0.0, 5.0], [0, -9, 5, 9]])
def test_box_without_area_is_outside(tmp_path, bbox):
    data = official([1])
    box_change(bbox=bbox)(data)
    _, excluded = records_of(tmp_path, data)
    assert excluded["reason"].to_list() == [selection.BOX_OUTSIDE_IMAGE]


def test_reason_of_several_boxes_is_the_furthest(tmp_path):
    data = official([1])
    box_change(legibility="illegible")(data)
    data["coco_text"]["anns"]["8"] = text_box(8, 1, utf8_string="")
    _, excluded = records_of(tmp_path, data)
    assert excluded["reason"].to_list() == [selection.BLANK_TRANSCRIPTION]
    assert excluded["detail"][0].startswith("box 8 ")


def test_no_image_is_lost(tmp_path):
    data = official(range(1, 9))
    del data["captions"]["images"][0]
    data["captions"]["annotations"] = [a for a in captions_of(data) if a["image_id"] != 1]
    del data["coco_text"]["anns"]["14"]
    data["vqa_questions"]["questions"].append(question(99_000, 99))
    records, excluded = records_of(tmp_path, data)
    assert sorted([*records["image_id"], *excluded["image_id"]]) == [*range(1, 9), 99]
    assert dict(zip(excluded["image_id"], excluded["reason"], strict=True)) == {
        1: selection.NOT_IN_CAPTIONS,
        2: selection.NO_TEXT_BOX,
        99: selection.NOT_IN_CAPTIONS,
    }


def test_white_space_of_captions(tmp_path):
    data = official([1])
    captions_of(data)[0]["caption"] = " a\u2028b\r\n c\u00a0\td \x85 "
    records, _ = records_of(tmp_path, data)
    assert records["captions"][0][0] == "a b c d"


@given(
    ids=st.sets(st.integers(0, 10**6), max_size=40),
    cuts=st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12)),
    seed=st.integers(0, 2**32),
)
def test_splits(ids, cuts, seed):
    if sum(cuts) > len(ids):
        with pytest.raises(BenchmarkError, match=f"{sum(cuts)} images .* only {len(ids)} are"):
            build_splits(ids, *cuts, seed=seed)
        return
    splits = build_splits(ids, *cuts, seed=seed)
    assert sorted(splits["image_id"]) == sorted(ids)  # disjoint and exhaustive
    counts = splits["split"].value_counts()
    assert tuple(counts.get(name, 0) for name in SPLIT_NAMES) == cuts
    assert counts.get(UNUSED, 0) == len(ids) - sum(cuts)
    pd.testing.assert_frame_equal(splits, build_splits(sorted(ids)[::-1], *cuts, seed=seed))


def test_splits_use_the_seed_and_fit_the_schema(tmp_path):
    splits = [build_splits(range(30), 10, 10, 5, seed=seed) for seed in (0, 1)]
    assert splits[0]["image_id"].to_list() != splits[1]["image_id"].to_list()
    artifacts.write(tmp_path / "splits.parquet", splits[0], SPLITS)


def test_splits_refuse_nonsense():
    with pytest.raises(BenchmarkError, match="occur twice"):
        build_splits([1, 1], 1, 0, 0)
    with pytest.raises(ValueError, match="negative"):
        build_splits([1], 1, -1, 0)


def test_splits_of_other_records_are_refused(tmp_path):
    records, _ = records_of(tmp_path, official([1, 2]))
    with pytest.raises(BenchmarkError, match="1 images of the splits have no record, such as 5"):
        used_records(records, build_splits([1, 5], 2, 0, 0))

"""Visual question answering: prompt, target, and the accuracy of VQAv2 (METHOD 2 and 3)."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from hones_core.tasks import common
from hones_core.tasks.instances import Instance

KIND = "generation"
TARGET_KIND = "fixed"
STATISTICS = ("accuracy",)

_TEMPLATES = {
    "llava": "Question: {question} Answer the question briefly using one or a few words.",
    "qwen2_5_vl": "Question: {question} Answer the question with a short phrase.",
}


def instruction(family: str, instance: Instance, candidate: str | None = None) -> str:
    """The prompt text of METHOD 2 without the chat template; ValueError for an unknown family."""
    common.refuse_candidate("vqa", candidate)
    return common.template_for(_TEMPLATES, family).format(question=instance.question)


def targets(instance: Instance) -> list[str]:
    """The most common answer, of equally common ones the first (METHOD 5)."""
    return [Counter(instance.references).most_common(1)[0][0]]


def utility(prediction: str, instance: Instance) -> float:
    """VQAv2 accuracy of one answer, in [0, 1]."""
    return vqa_accuracy(prediction, instance.references)


def statistics(prediction: str, instance: Instance) -> list[float]:
    """What sums over instances: the accuracy."""
    return [utility(prediction, instance)]


def score(total_statistics: ArrayLike, n: int) -> float | np.ndarray:
    """Mean accuracy in [0, 1] from summed statistics, one per row (see `common.mean_score`)."""
    return common.mean_score(total_statistics, n)


def vqa_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """VQAv2 accuracy in [0, 1]: prediction and answers always normalised (METHOD 3, default).

    For each annotator, min(matches among the other annotators / 3, 1); the mean of these.
    Raises ValueError if there are no answers.
    """
    common.require_references(answers)
    return _consensus(normalise(prediction), [normalise(answer) for answer in answers])


def vqa_accuracy_2021(prediction: str, answers: Sequence[str]) -> float:
    """VQAv2 accuracy in [0, 1] as the evaluator's March-2021 revision computes it.

    It compares the bare strings when all answers agree, so that "Yes" misses ten times "yes".
    The table masking_score reports it beside `vqa_accuracy`; it is never the utility. ValueError if
    there are no answers.
    """
    common.require_references(answers)
    if len({_flatten(answer) for answer in answers}) > 1:
        return vqa_accuracy(prediction, answers)
    return _consensus(_flatten(prediction), [_flatten(answer) for answer in answers])


def _consensus(prediction: str, answers: Sequence[str]) -> float:
    matches = sum(answer == prediction for answer in answers)
    # An annotator whose own answer matches is left out of the matches.
    per_annotator = [min(1.0, (matches - (answer == prediction)) / 3) for answer in answers]
    return sum(per_annotator) / len(per_annotator)


@lru_cache(maxsize=65536)
def normalise(text: str) -> str:
    """Normalise an answer as the official VQAv2 evaluation does, its oddities included."""
    return _strip_words(_strip_punctuation(_flatten(text)))


def _flatten(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


_PUNCTUATION = (*';/[]"{}()=+\\_-><@`,?!',)
_DIGIT_COMMA_DIGIT = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
# The evaluator passes the flag re.UNICODE (32) where re.sub expects a count.
_MOST_PERIODS = 32


def _strip_punctuation(text: str) -> str:
    # Whether a mark is deleted or becomes a space is asked of the *unchanged* text, and one comma
    # between digits makes every mark be deleted.
    has_number_comma = _DIGIT_COMMA_DIGIT.search(text) is not None
    out = text
    for mark in _PUNCTUATION:
        stands_free = f"{mark} " in text or f" {mark}" in text
        out = out.replace(mark, "" if stands_free or has_number_comma else " ")
    # A full stop goes unless a digit follows; the evaluator's look-behind for a digit before it
    # is misspelt and never applies.
    return _PERIOD.sub("", out, count=_MOST_PERIODS)


def _strip_words(text: str) -> str:
    words = (_NUMBER_WORDS.get(word, word) for word in text.lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


_ARTICLES = frozenset({"a", "an", "the"})

_NUMBER_WORDS = {
    "none": "0",
    "zero": "0",
    "one": "1",
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
}

# The evaluation's whole table, "written:normal". Its rows with a capital I are unreachable, because
# words are lower-cased first, and "somebody'd" really loses its apostrophe; both are kept.
_CONTRACTION_TABLE = """
aint:ain't arent:aren't cant:can't couldve:could've couldnt:couldn't couldn'tve:couldn't've
couldnt've:couldn't've didnt:didn't doesnt:doesn't dont:don't hadnt:hadn't
hadnt've:hadn't've hadn'tve:hadn't've hasnt:hasn't havent:haven't hed:he'd hed've:he'd've
he'dve:he'd've hes:he's howd:how'd howll:how'll hows:how's Id've:I'd've I'dve:I'd've Im:I'm
Ive:I've isnt:isn't itd:it'd itd've:it'd've it'dve:it'd've itll:it'll let's:let's maam:ma'am
mightnt:mightn't mightnt've:mightn't've mightn'tve:mightn't've mightve:might've
mustnt:mustn't mustve:must've neednt:needn't notve:not've oclock:o'clock oughtnt:oughtn't
ow's'at:'ow's'at 'ows'at:'ow's'at 'ow'sat:'ow's'at shant:shan't shed've:she'd've
she'dve:she'd've she's:she's shouldve:should've shouldnt:shouldn't shouldnt've:shouldn't've
shouldn'tve:shouldn't've somebody'd:somebodyd somebodyd've:somebody'd've
somebody'dve:somebody'd've somebodyll:somebody'll somebodys:somebody's someoned:someone'd
someoned've:someone'd've someone'dve:someone'd've someonell:someone'll someones:someone's
somethingd:something'd somethingd've:something'd've something'dve:something'd've
somethingll:something'll thats:that's thered:there'd thered've:there'd've
there'dve:there'd've therere:there're theres:there's theyd:they'd theyd've:they'd've
they'dve:they'd've theyll:they'll theyre:they're theyve:they've twas:'twas wasnt:wasn't
wed've:we'd've we'dve:we'd've weve:we've werent:weren't whatll:what'll whatre:what're
whats:what's whatve:what've whens:when's whered:where'd wheres:where's whereve:where've
whod:who'd whod've:who'd've who'dve:who'd've wholl:who'll whos:who's whove:who've
whyll:why'll whyre:why're whys:why's wont:won't wouldve:would've wouldnt:wouldn't
wouldnt've:wouldn't've wouldn'tve:wouldn't've yall:y'all yall'll:y'all'll y'allll:y'all'll
yall'd've:y'all'd've y'alld've:y'all'd've y'all'dve:y'all'd've youd:you'd youd've:you'd've
you'dve:you'd've youll:you'll youre:you're youve:you've
"""
_CONTRACTIONS = dict(row.split(":") for row in _CONTRACTION_TABLE.split())

"""Which tables and figures answer which question, in the order of the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hones_core.report.page import Section
from hones_core.report.verdicts import verdicts


@dataclass(frozen=True)
class Plan:
    """A section: what it asks, its tables, the figures of each model with their captions."""

    title: str
    question: str
    tables: tuple[str, ...]
    figures: Mapping[str, str]


PLANS = (
    Plan(
        "Heads",
        "Which attention heads does each task need, and how much is lost without several of them?",
        ("head_budget",),
        {
            "head_scores": "utility lost when one head is replaced by the mean of the others",
            "head_budget": "drop with the top heads replaced together; the elbow is marked",
        },
    ),
    Plan(
        "Masking",
        "What is lost when the top neurons of each ranker are silenced (the paper's Tables 1, 2 "
        "and 7)?",
        ("masking_drop", "masking_score", "ratio_drop"),
        {
            "layer_histogram": "layers of the top neurons",
            "ratio_drop": "drop against the share of neurons silenced",
        },
    ),
    Plan(
        "Rankers",
        "How much do rankers agree with one another, and with themselves on other samples? Do they "
        "find neurons that are known to matter?",
        ("ranker_agreement", "stability", "planted_recovery", "efficiency"),
        {"ranker_agreement": "top neurons that two rankers have in common"},
    ),
    Plan(
        "Groups",
        "What are the groups of shared neurons worth (the paper's Table 10)?",
        ("group_drop",),
        {
            "group_sizes": "how many neurons the tasks' top sets share",
            "group_drop": "drop with each group silenced, beside random sets",
        },
    ),
    Plan(
        "Selectivity",
        "Can one capability be suppressed without harming the others?",
        ("selectivity_index", "selectivity", "selectivity_by_kind"),
        {"selectivity": "rows: whose neurons are silenced; columns: what is scored"},
    ),
    Plan(
        "Erased texts",
        "Does captioning's bridge need visible text (the paper's Table 12)?",
        ("text_erasure",),
        {},
    ),
    Plan(
        "Other data",
        "Does the pattern hold out of distribution (the paper's Table 13)?",
        ("ood_group_drop",),
        {},
    ),
    Plan(
        "Logit lens",
        "At which layers do silenced neurons cost which tokens (the paper's Figures 4 and 9)?",
        ("logit_lens",),
        {
            "logit_lens": "mean lost logit by layer",
            "logit_lens_samples": "the tokens that lose most, for representative samples",
        },
    ),
    Plan(
        "Steering",
        "Do learned scales on a few neurons improve the model (the paper's Tables 3 and 14)?",
        ("steering", "steering_bootstrap", "steering_side_effects"),
        {},
    ),
    Plan(
        "Benchmark",
        "Which images were used, which were left out, and why?",
        ("benchmark_funnel", "box_sizes", "retrieval_false_negatives"),
        {},
    ),
)


def sections(tables: Path, figures: Path, models: Sequence[str]) -> list[Section]:
    """The page's sections of what this run made; a section without any table is left out.

    `tables` holds {name}.md and {name}.parquet, `figures` {model}/{name}.svg.
    """
    found = []
    for plan in PLANS:
        texts = {
            name: (tables / f"{name}.md").read_text(encoding="utf-8")
            for name in plan.tables
            if (tables / f"{name}.md").exists()
        }
        if not texts:
            continue
        pictures = {
            f"{model}: {caption}": figures / model / f"{name}.svg"
            for model in models
            for name, caption in plan.figures.items()
            if (figures / model / f"{name}.svg").exists()
        }
        said = [sentence for name in texts for sentence in verdicts(tables / f"{name}.parquet")]
        found.append(Section(plan.title, plan.question, said, texts, pictures))
    return found

# What the two reports show: Snakemake's own (snakemake --report report.html), and ours.
from functools import cache

from snakemake.iocontainers import Wildcards

# {kind/name: (part of the study, what the file shows)}; its caption is report/{kind/name}.rst.
SHOWN = {
    "tables/benchmark_funnel": ("Benchmark", "images used and left out"),
    "tables/box_sizes": ("Benchmark", "heights of the text boxes"),
    "tables/retrieval_false_negatives": ("Benchmark", "negatives that may be true"),
    "tables/ood_false_negatives": (
        "Benchmark",
        "negatives that may be true, Flickr30k",
    ),
    "figures/head_scores": ("Heads", "score of every head"),
    "figures/head_budget": ("Heads", "drop by number of heads, curves"),
    "tables/head_budget": ("Heads", "drop by number of heads"),
    "tables/head_screening": ("Heads", "what screening saves and finds"),
    "figures/layer_histogram": ("Neurons", "layers of the top neurons"),
    "figures/ranker_agreement": ("Neurons", "agreement of rankers, matrix"),
    "tables/ranker_agreement": ("Neurons", "agreement of rankers"),
    "tables/stability": ("Neurons", "stability over samples"),
    "tables/efficiency": ("Neurons", "cost of localization"),
    "tables/masking_drop": ("Masking", "drop by ranker"),
    "tables/masking_score": ("Masking", "score by ranker"),
    "figures/ratio_drop": ("Masking", "drop by share of neurons, curves"),
    "tables/ratio_drop": ("Masking", "drop by share of neurons"),
    "figures/group_sizes": ("Groups", "sizes of the overlap groups"),
    "figures/group_drop": ("Groups", "drop by group, bars"),
    "tables/group_drop": ("Groups", "drop by group"),
    "tables/text_erasure": ("Groups", "drop by group, texts erased"),
    "tables/ood_group_drop": ("Groups", "drop by group, other data"),
    "figures/selectivity": ("Selectivity", "selectivity, matrix"),
    "tables/selectivity": ("Selectivity", "drop of every task"),
    "tables/selectivity_index": ("Selectivity", "own drop against the others'"),
    "tables/selectivity_by_kind": ("Selectivity", "drop by kind of instance"),
    "figures/logit_lens": ("Logit lens", "lost logits by layer, curves"),
    "tables/logit_lens": ("Logit lens", "lost logits by layer"),
    "figures/logit_lens_samples": ("Logit lens", "lost tokens of single samples"),
    "tables/steering": ("Steering", "score and gain by method"),
    "tables/steering_bootstrap": ("Steering", "HONES against each method"),
    "tables/steering_side_effects": ("Steering", "effect on the other tasks"),
    "tables/ood_steering": ("Steering", "score and gain, other data"),
    "figures/planted_recovery": ("Controls", "known circuits found, matrices"),
    "tables/planted_recovery": ("Controls", "known circuits found"),
    "tables/planted_strengths": ("Controls", "known circuits found, by strength"),
}
# The models that a part's tables are about; "all" for the others.
MODELS_OF = {"Benchmark": "none", "Controls": "planted"}


def shown(paths):
    """The path, or the list in its order; CSV and SVG are marked for Snakemake's report. Raises
    KeyError for a table or figure that SHOWN does not know."""
    if isinstance(paths, list):
        return [shown(path) for path in paths]
    if Path(paths).suffix not in {".csv", ".svg"}:
        return paths
    name = f"{Path(paths).relative_to(RUN).parts[0]}/{Path(paths).stem}"
    category, what = SHOWN[name]
    of_model = "{model}" if "{model}" in paths else MODELS_OF.get(category, "all")
    return report(
        paths,
        caption=f"../report/{name}.rst",
        category=category,
        labels={"model": of_model, "what": what},
    )


def steps_behind(path):
    """{step: steps whose output it reads} of the step that makes the file, and of all before it."""
    reads, waiting, seen = {}, [path], set()
    while waiting:
        file = waiting.pop()
        step = _maker(file)
        if file in seen or step is None:
            continue
        seen.add(file)
        inputs, *_ = step.expand_input(Wildcards(fromdict=step.get_wildcards(file)))
        before = {maker.name for maker in map(_maker, inputs) if maker}
        reads.setdefault(step.name, set()).update(before - {step.name})
        waiting += inputs
    return {step: sorted(reads[step]) for step in sorted(reads)}


@cache
def _maker(path):
    """The rule that makes the file, or None."""
    return next((rule for rule in workflow.rules if rule.is_producer(path)), None)

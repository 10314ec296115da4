"""MMNeuron: neurons that are active in one task more than in the others.

Huo et al. (2024), "MMNeuron: Discovering Neuron-Level Domain-Specific Interpretation in Multimodal
Large Language Model": the neurons whose activation probabilities over the domains have the lowest
entropy. The domains are the tasks here.
"""

import numpy as np

from hones_core.attribution.measurements import Measurements, Scores, grid

DECIMALS = 12  # the entropy of the same shares in another order differs in the last bits


def score(measured: Measurements, seed: int) -> Scores:
    """Lowest entropy over tasks first, among the neurons that are most active in this task; [L, m].

    With p_t the share of samples of task t in which the neuron is active and q_t = p_t / Σ p:
    ln T - H(q) for a neuron whose largest p is this task's (0 to ln T). The other neurons follow
    by q_t - 1, those that are never active last; ties by p_t. Raises ValueError for fewer than two
    tasks, or if the ranked one is not among them.
    """
    tasks = list(measured.task_activations)
    if len(tasks) < 2 or measured.task not in tasks:
        raise ValueError(
            "mmneuron compares the activations of tasks: it needs those of the ranked task "
            f"{measured.task!r} and of another one, but was given {tasks}; take it out of "
            "neurons.rankers"
        )
    frames = measured.task_activations.values()
    probability = np.stack([grid(frame, "active_fraction") for frame in frames])  # [T, L, m]
    own = probability[tasks.index(measured.task)]
    total = probability.sum(0)
    share = np.divide(probability, total, out=np.zeros_like(probability), where=total > 0)
    logarithm = np.log(share, out=np.zeros_like(share), where=share > 0)
    specific = np.log(len(tasks)) + (share * logarithm).sum(0)
    of_this_task = (own == probability.max(0)) & (total > 0)
    scores = np.where(of_this_task, specific, share[tasks.index(measured.task)] - 1)
    return np.round(scores, DECIMALS) + 0.0, own

"""From tensors over a batch to rows over neurons."""

import numpy as np
import pandas as pd
from torch import Tensor


def summed(values: Tensor) -> np.ndarray:
    """Sum over the batch of [B, ...] in float64, on the CPU."""
    return values.double().sum(0).cpu().numpy()


def neuron_frame(n_samples: int, **columns: np.ndarray) -> pd.DataFrame:
    """One row a neuron from columns [L, m], with the number of instances they are over."""
    layer, neuron = np.indices(next(iter(columns.values())).shape)
    values = {name: column.ravel() for name, column in columns.items()}
    return pd.DataFrame(
        {"layer": layer.ravel(), "neuron": neuron.ravel(), **values, "n_samples": n_samples}
    )

"""Sizes of the tiny models."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """Sizes of the model; widths in dimensions."""

    width: int = 128
    readout_width: int = 48
    layers: int = 4
    heads: int = 8
    kv_heads: int = 8
    neurons: int = 640  # per layer
    tower_width: int = 128
    tower_layers: int = 3
    tower_heads: int = 4
    tower_neurons: int = 384

"""Loading models; one adapter per architecture says where its heads and neurons are."""

from hones_core.models.adapter import Adapter
from hones_core.models.loading import load_model

__all__ = ["Adapter", "load_model"]

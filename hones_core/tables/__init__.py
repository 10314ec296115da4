"""The result tables: long frames with bootstrap intervals and the paper's figures beside them.

`masking`, `groups` and `steering` compute them from the per-sample predictions, `render` writes
them as parquet, CSV and Markdown.
"""

from hones_core.tables.common import Bootstrap, Frames
from hones_core.tables.groups import group_drop
from hones_core.tables.masking import masking_drop, masking_score
from hones_core.tables.render import to_markdown, write_table
from hones_core.tables.steering import steering, steering_bootstrap, steering_side_effects

__all__ = [
    "Bootstrap",
    "Frames",
    "group_drop",
    "masking_drop",
    "masking_score",
    "steering",
    "steering_bootstrap",
    "steering_side_effects",
    "to_markdown",
    "write_table",
]

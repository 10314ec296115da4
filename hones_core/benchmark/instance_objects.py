"""From stored instances to the objects that the tasks work on.

Apart from `instances`, so that building them does not depend on the code of the tasks.
"""

import pandas as pd

from hones_core.tasks.instances import Instance


def to_instances(frame: pd.DataFrame) -> list[Instance]:
    """The rows of a frame of the schema INSTANCES as objects, in the frame's order.

    Raises ValueError, naming the instance, for one that does not fit its task.
    """
    return [
        Instance(
            instance_id=row.instance_id,
            task=row.task,
            split=row.split,
            image_id=int(row.image_id),
            image=row.image,
            question=row.question,
            references=tuple(row.references),
            candidates=tuple(row.candidates),
            positive_index=int(row.positive_index),
        )
        for row in frame.itertuples()
    ]

"""The toy world: small scenes in the official file formats, and the model that reads them.

Nothing downstream imports this package: the workflow reads the files that it writes, exactly as it
reads the real COCO files and the real checkpoints.
"""

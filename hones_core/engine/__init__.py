"""Running a model over instances, with or without interventions."""

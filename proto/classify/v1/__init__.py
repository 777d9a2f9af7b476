"""classify.v1: ClassifyService and ModelService."""

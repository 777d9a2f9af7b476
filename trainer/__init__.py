"""Train image classifiers and publish them as artifacts."""

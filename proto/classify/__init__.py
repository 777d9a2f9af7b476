"""The classify API, one package per version."""

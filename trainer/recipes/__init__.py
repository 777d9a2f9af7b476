"""Recipes that come with the trainer, as TOML files."""

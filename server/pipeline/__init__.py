"""From an accepted image to its scores: decode, batch, compute."""

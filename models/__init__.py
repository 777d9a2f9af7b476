"""The contract between trainer and server: what an artifact is and how an image becomes a tensor."""

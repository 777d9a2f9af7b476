"""The contract between trainer and server: artifacts, and how an image becomes a tensor."""

"""The commands, by what they are for. Torch is loaded inside them: --help must not wait for it."""

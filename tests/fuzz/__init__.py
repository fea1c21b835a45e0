"""Mutated models: each has to be fused right, or be refused in one line."""

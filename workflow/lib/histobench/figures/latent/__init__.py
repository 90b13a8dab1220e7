"""Figures of what networks hold inside: embeddings and reconstructions."""

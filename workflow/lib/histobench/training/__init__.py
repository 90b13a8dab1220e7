"""Training: the engine that several methods share.

Batches from memory-mapped patches, augmentation, optimisation loops, checkpoints and history. It does
not know any method.
"""

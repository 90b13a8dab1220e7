"""Training: what methods are given and must return, and the engine that trains, runs and checks them.

The contract, sections as methods see them, batches from memory-mapped patches, augmentation, optimisation
loops, checkpoints, stored models and the run from files to files. It does not know any method.
"""

"""Methods: one module per published method or control, behind one contract.

A module is found by the entry string of its YAML file; no module here imports them all, so that an
edit of one method reruns that method alone. What several methods share belongs in ``networks`` or
``training``; what they are given and must return is in ``contract``.
"""

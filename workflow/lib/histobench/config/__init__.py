"""Configuration: files and schemas in, one complete and checked description of the run out.

It is read while the workflow graph is built, so nothing here imports anything heavy.
"""

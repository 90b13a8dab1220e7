"""The ``histobench`` command: what people ask for that is no result of the workflow.

Checks of a cohort, method or encoder of one's own, the reference pages, and the recovery of a killed run.
"""

"""Splits: who is trained on and who is tested.

Fold schemes, patient aliases across cohorts and the leakage audit. Pure functions of small tables.
"""

"""Evaluation: from predictions to numbers.

Metrics per gene and section, the noise ceiling, statistics and result tables. Nothing here draws.
"""

"""Figures of methods side by side: scores, comparisons, costs and protocols."""

"""Figures in which a gene is a point, a bar or a row."""

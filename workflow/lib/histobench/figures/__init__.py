"""Figures: one function per figure; a tidy table in, a matplotlib figure out. Nothing is computed here."""

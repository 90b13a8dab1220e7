"""Figures with a course: training, power, thresholds."""

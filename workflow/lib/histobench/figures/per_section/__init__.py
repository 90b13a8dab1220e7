"""Figures of the sections of a cohort: what they hold, what was dropped, how each is predicted."""

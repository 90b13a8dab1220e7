"""Cohorts: from published raw files to sections.

Downloading and verifying, one reader per file layout, the simulated cohort, and the assembly of a
validated section (AnnData with raw counts, positions, labels and scale). Nothing here looks at pixels
beyond the size of an image, and nothing is fitted.
"""

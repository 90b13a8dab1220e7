"""Whole-slide images: predictions for a slide that nobody measured, on a grid of positions or tile by tile.

What belongs here asks a trained method about images without spots, and compares what it says with bulk
expression; how a method is built, loaded and trained is :mod:`histobench.training`.
"""

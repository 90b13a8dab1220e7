"""What a run will make, asked of its configuration.

Which methods and genes figures show, which experiments differ in one thing, which one reaches a published
number. It reads settings, no results, and knows no method by name.
"""

"""Expression: everything between raw counts and training targets.

QC profiles, target transforms, gene panels, gene symbols and binomial thinning.
"""

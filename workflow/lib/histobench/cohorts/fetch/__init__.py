"""Fetching: where raw files come from, how they are known to be right, and what is taken out of archives."""

"""Readers: one for each layout of published sections or photographs, and one for a table of one's own."""

"""What a run leaves behind: the catalogue of its files, one reader and one writer, and a door for people.

Here belongs what a file *is*: its path, the type, unit and meaning of its columns, its caption. How its
numbers are computed is the business of the rooms that make them, where it is shown that of figures and
report.
"""

"""Tools of figures: settings, style, pieces of axes, tissue and text, and reading what is drawn."""

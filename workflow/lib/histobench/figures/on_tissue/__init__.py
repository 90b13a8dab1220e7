"""Maps: spots, tiles and patches over the tissue that they lie on."""

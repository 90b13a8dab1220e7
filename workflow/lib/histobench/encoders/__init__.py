"""Encoders: image networks declared in config/encoders, one file each, that describe patches by vectors."""

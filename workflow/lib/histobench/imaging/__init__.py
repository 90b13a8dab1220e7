"""Imaging: everything between an image file and an array of patches.

Opening slides, micrometres per pixel, stain normalisation and cutting patches.
"""

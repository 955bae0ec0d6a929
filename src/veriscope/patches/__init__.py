"""Training patches cut from pairs of images."""

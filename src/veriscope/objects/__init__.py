"""Objects in images: segmented, compared with the true ones, followed through time."""

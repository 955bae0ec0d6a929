"""From an image and an ensemble to a restoration, tile by tile."""

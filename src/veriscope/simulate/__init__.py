"""Known structures and a microscope that images them: optics and cameras."""

"""Known truth and a microscope to look at it: optics and cameras."""

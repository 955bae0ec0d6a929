"""Known truth and a microscope to look at it: cameras for now."""

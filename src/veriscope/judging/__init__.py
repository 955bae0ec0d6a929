"""Figures: how close to the ground truth, how well calibrated, how fine, how isotropic."""

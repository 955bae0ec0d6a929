"""What a network is: its recipe, its layers, and the ensemble that is trained, saved and loaded."""

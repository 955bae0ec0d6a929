"""From patches to an ensemble: losses, schedule, the loop, checkpoints."""

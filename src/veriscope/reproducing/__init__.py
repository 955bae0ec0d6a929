"""The experiments of the paper, from data to table: simulated or real images, trained, restored and judged."""

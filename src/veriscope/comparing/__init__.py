"""Models and methods on the same images: judge one, compare it with what people used before, cross many."""

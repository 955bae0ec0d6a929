"""veriscope in napari: readers, writers, sample data and widgets. Nothing but an interface over the library."""
